package examples

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// fourColors is a picture whose quarters are red, green (right), blue (below) and
// half transparent white.
func fourColors(w, h int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{255, 0, 0, 255}
			switch {
			case x >= w/2 && y >= h/2:
				c = color.NRGBA{255, 255, 255, 128}
			case x >= w/2:
				c = color.NRGBA{0, 255, 0, 255}
			case y >= h/2:
				c = color.NRGBA{0, 0, 255, 255}
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

func encodePNG(tb testing.TB, m image.Image) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func encodeJPEG(tb testing.TB, m image.Image) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// withOrientation puts an Exif segment with the tag after a JPEG's first marker.
func withOrientation(order binary.AppendByteOrder, jpeg []byte, orientation uint16) []byte {
	tiff := []byte("II*\x00")
	if order.String() == "BigEndian" {
		tiff = []byte("MM\x00*")
	}
	tiff = order.AppendUint32(tiff, 10)
	tiff = append(tiff, "xx"...) // the directory need not follow at once
	tiff = order.AppendUint16(tiff, 2)
	for _, entry := range [][2]uint16{{0x010f, 7}, {0x0112, orientation}} {
		tiff = order.AppendUint16(tiff, entry[0])
		tiff = order.AppendUint16(tiff, 3) // short
		tiff = order.AppendUint32(tiff, 1)
		tiff = order.AppendUint16(tiff, entry[1])
		tiff = order.AppendUint16(tiff, 0)
	}
	segment := append([]byte("Exif\x00\x00"), tiff...)
	out := append(bytes.Clone(jpeg[:2]), 0xff, 0xe1)
	out = binary.BigEndian.AppendUint16(out, uint16(len(segment)+2))
	return append(append(out, segment...), jpeg[2:]...)
}

// announcing returns a PNG that claims a size its data does not have.
func announcing(tb testing.TB, w, h uint32) []byte {
	tb.Helper()
	b := encodePNG(tb, image.NewNRGBA(image.Rect(0, 0, 1, 1)))
	binary.BigEndian.PutUint32(b[16:], w)
	binary.BigEndian.PutUint32(b[20:], h)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

// pictureRequest is a request with a picture as its body.
func pictureRequest(method, mediaType, query string, body []byte) []byte {
	headers := "{}"
	if mediaType != "" {
		headers = fmt.Sprintf(`{"Content-Type":[%q]}`, mediaType)
	}
	return fmt.Appendf(nil, `{"method":%q,"query":{%s},"headers":%s,"body_base64":"%s"}`, method, query, headers, base64.StdEncoding.EncodeToString(body))
}

func TestThumbnail(t *testing.T) {
	t.Parallel()
	program := compile(t, "thumbnail")
	tests := []struct {
		name, mediaType, query string
		source                 image.Image
		want                   image.Point
	}{
		{"default", "image/png", ``, fourColors(800, 400), image.Pt(200, 100)},
		{"width", "image/png", `"w":["100"]`, fourColors(800, 400), image.Pt(100, 50)},
		{"height", "image/png", `"h":["100"]`, fourColors(800, 400), image.Pt(200, 100)},
		{"box, width decides", "image/png", `"w":["100"],"h":["100"]`, fourColors(800, 400), image.Pt(100, 50)},
		{"box, height decides", "image/png", `"w":["100"],"h":["20"]`, fourColors(800, 400), image.Pt(40, 20)},
		{"first of several", "image/png", `"w":["100","x"]`, fourColors(800, 400), image.Pt(100, 50)},
		{"rounded", "image/png", `"w":["100"]`, fourColors(300, 200), image.Pt(100, 67)},
		{"no factor of the source", "image/png", `"w":["97"]`, fourColors(311, 173), image.Pt(97, 54)},
		{"one pixel less", "image/png", `"w":["99"]`, fourColors(100, 100), image.Pt(99, 99)},
		{"not enlarged", "image/png", `"w":["2000"]`, fourColors(40, 20), image.Pt(40, 20)},
		{"same size", "image/png", `"w":["40"]`, fourColors(40, 20), image.Pt(40, 20)},
		{"never less than a pixel high", "image/png", `"w":["10"]`, fourColors(2000, 2), image.Pt(10, 1)},
		{"never less than a pixel wide", "image/png", `"h":["10"]`, fourColors(2, 2000), image.Pt(1, 10)},
		{"tall, height not given", "image/png", `"w":["200"]`, fourColors(200, 8000), image.Pt(50, 2000)},
		{"jpeg", "image/jpeg", `"w":["100"]`, fourColors(800, 400), image.Pt(100, 50)},
		{"jpeg with parameter", "IMAGE/JPEG; q=1", `"w":["100"]`, fourColors(800, 400), image.Pt(100, 50)},
		{"gray", "image/png", `"w":["10"]`, image.NewGray(image.Rect(0, 0, 100, 100)), image.Pt(10, 10)},
		{"16 bits", "image/png", `"w":["10"]`, image.NewNRGBA64(image.Rect(0, 0, 100, 100)), image.Pt(10, 10)},
		{"palette", "image/png", `"w":["10"]`, image.NewPaletted(image.Rect(0, 0, 100, 100), color.Palette{color.Black, color.White}), image.Pt(10, 10)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := encodePNG(t, test.source)
			format := "png"
			if strings.HasPrefix(strings.ToLower(test.mediaType), "image/jpeg") {
				source, format = encodeJPEG(t, test.source), "jpeg"
			}
			got := call(t, program, toolchaintest.Call{Stdin: pictureRequest("POST", test.mediaType, test.query, source)})
			if got.Status != 200 || got.Headers["Content-Type"] != "image/"+format {
				t.Fatalf("got %d %v %s", got.Status, got.Headers, got.Body)
			}
			m, name, err := image.Decode(bytes.NewReader(got.Base64))
			if err != nil || name != format || m.Bounds().Size() != test.want {
				t.Fatalf("got %s %v, %v, want %s %v", name, m.Bounds().Size(), err, format, test.want)
			}
			if _, ok := test.source.(*image.NRGBA); ok && test.want.X > 9 && test.want.Y > 9 {
				checkColors(t, m, "red", "green", "blue")
			}
		})
	}
}

// checkColors names the colors in the middle of the upper left, upper right and
// lower left quarter.
func checkColors(t *testing.T, m image.Image, want ...string) {
	t.Helper()
	size := m.Bounds().Size()
	for i, at := range []image.Point{{size.X / 4, size.Y / 4}, {size.X * 3 / 4, size.Y / 4}, {size.X / 4, size.Y * 3 / 4}} {
		r, g, b, _ := m.At(at.X, at.Y).RGBA()
		got := "mixed"
		switch {
		case r > 0xe000 && g < 0x2000 && b < 0x2000:
			got = "red"
		case r < 0x2000 && g > 0xe000 && b < 0x2000:
			got = "green"
		case r < 0x2000 && g < 0x2000 && b > 0xe000:
			got = "blue"
		case max(r, g, b) < 0xa000 && min(r, g, b) > 0x6000:
			got = "gray"
		}
		if got != want[i] {
			t.Errorf("at %v: got %s (%x %x %x), want %s", at, got, r, g, b, want[i])
		}
	}
}

// Each pixel is the mean of those it stands for, transparency included.
func TestThumbnailMean(t *testing.T) {
	t.Parallel()
	program := compile(t, "thumbnail")
	source := image.NewNRGBA(image.Rect(0, 0, 3, 3))
	for i, v := range []byte{0, 30, 60, 90, 120, 150, 180, 210, 240} {
		source.SetNRGBA(i%3, i/3, color.NRGBA{v, v, v, 255})
	}
	got := call(t, program, toolchaintest.Call{Stdin: pictureRequest("POST", "image/png", `"w":["2"]`, encodePNG(t, source))})
	m, err := png.Decode(bytes.NewReader(got.Base64))
	if err != nil {
		t.Fatal(err)
	}
	// A pixel of the result covers 1½ × 1½: weights 1, ½ and ¼.
	for i, want := range []byte{40, 80, 160, 200} {
		if r, _, _, _ := m.At(i%2, i/2).RGBA(); byte(r>>8) != want {
			t.Errorf("pixel %d: got %d, want %d", i, r>>8, want)
		}
	}

	transparent := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	transparent.SetNRGBA(0, 0, color.NRGBA{200, 0, 0, 255})
	transparent.SetNRGBA(1, 0, color.NRGBA{0, 255, 0, 0})
	got = call(t, program, toolchaintest.Call{Stdin: pictureRequest("POST", "image/png", `"w":["1"]`, encodePNG(t, transparent))})
	if m, err = png.Decode(bytes.NewReader(got.Base64)); err != nil {
		t.Fatal(err)
	}
	if c := color.NRGBAModel.Convert(m.At(0, 0)).(color.NRGBA); c.G != 0 || c.A < 127 || c.A > 128 || c.R < 198 || c.R > 202 {
		t.Errorf("beside a transparent pixel: got %v, want red, half transparent", c)
	}
}

// Photographs come out upright: in the source, red is where Exif says the upper
// left corner is stored.
func TestThumbnailOrientation(t *testing.T) {
	t.Parallel()
	program := compile(t, "thumbnail")
	source := encodeJPEG(t, fourColors(160, 80)) // red, green / blue, gray
	wide, tall := image.Pt(80, 40), image.Pt(40, 80)
	tests := []struct {
		orientation uint16
		size        image.Point
		want        []string
	}{
		{1, wide, []string{"red", "green", "blue"}},
		{2, wide, []string{"green", "red", "gray"}},
		{3, wide, []string{"gray", "blue", "green"}},
		{4, wide, []string{"blue", "gray", "red"}},
		{5, tall, []string{"red", "blue", "green"}},
		{6, tall, []string{"blue", "red", "gray"}},
		{7, tall, []string{"gray", "green", "blue"}},
		{8, tall, []string{"green", "gray", "red"}},
		{0, wide, []string{"red", "green", "blue"}},
		{9, wide, []string{"red", "green", "blue"}},
	}
	for _, test := range tests {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprintf("%d %s", test.orientation, order), func(t *testing.T) {
				query := fmt.Sprintf(`"w":["%d"],"h":["%d"]`, test.size.X, test.size.Y)
				got := call(t, program, toolchaintest.Call{Stdin: pictureRequest("POST", "image/jpeg", query, withOrientation(order, source, test.orientation))})
				m, err := jpeg.Decode(bytes.NewReader(got.Base64))
				if err != nil {
					t.Fatalf("%d %s: %v", got.Status, got.Body, err)
				}
				if m.Bounds().Size() != test.size {
					t.Errorf("got %v, want %v", m.Bounds().Size(), test.size)
				}
				checkColors(t, m, test.want...)
			})
		}
	}
}

func TestThumbnailRefuses(t *testing.T) {
	t.Parallel()
	program := compile(t, "thumbnail")
	good, photo := encodePNG(t, fourColors(20, 20)), encodeJPEG(t, fourColors(20, 20))
	tests := []struct {
		name    string
		request []byte
		status  int
		body    string // part of it
	}{
		{"get", pictureRequest("GET", "image/png", "", good), 405, "method"},
		{"no content type", pictureRequest("POST", "", "", good), 415, "image/png or image/jpeg"},
		{"other content type", pictureRequest("POST", "image/gif", "", good), 415, "image/png or image/jpeg"},
		{"text", []byte(`{"method":"POST","headers":{"Content-Type":["image/png"]},"body":"hello"}`), 422, "not a picture"},
		{"nothing", pictureRequest("POST", "image/png", "", nil), 422, "not a picture"},
		{"jpeg for png", pictureRequest("POST", "image/png", "", photo), 422, "not a picture of type image/png"},
		{"png for jpeg", pictureRequest("POST", "image/jpeg", "", good), 422, "not a picture of type image/jpeg"},
		{"png cut", pictureRequest("POST", "image/png", "", good[:len(good)-20]), 422, "damaged"},
		{"jpeg cut", pictureRequest("POST", "image/jpeg", "", photo[:len(photo)-20]), 422, "damaged"},
		{"jpeg header alone", pictureRequest("POST", "image/jpeg", "", photo[:2]), 422, "not a picture"},
		{"width of nothing", pictureRequest("POST", "image/png", `"w":[""]`, good), 422, "w must be a number from 1 to 2000"},
		{"width 0", pictureRequest("POST", "image/png", `"w":["0"]`, good), 422, "w must be"},
		{"width below 0", pictureRequest("POST", "image/png", `"w":["-1"]`, good), 422, "w must be"},
		{"width too much", pictureRequest("POST", "image/png", `"w":["2001"]`, good), 422, "w must be"},
		{"width in words", pictureRequest("POST", "image/png", `"w":["ten"]`, good), 422, "w must be"},
		{"height beyond numbers", pictureRequest("POST", "image/png", `"h":["99999999999999999999"]`, good), 422, "h must be"},
		{"a bomb", pictureRequest("POST", "image/png", "", announcing(t, 50_000, 50_000)), 422, "50000×50000 pixels is too large"},
		{"the largest bomb", pictureRequest("POST", "image/png", "", announcing(t, 1<<31-1, 1<<31-1)), 422, ""},
		{"a wide bomb", pictureRequest("POST", "image/png", "", announcing(t, 1<<24, 1)), 422, "too large"},
		{"just below the bound, without data", pictureRequest("POST", "image/png", "", announcing(t, 4000, 4000)), 422, "damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := call(t, program, toolchaintest.Call{Stdin: test.request})
			if got.Status != test.status || !strings.Contains(got.Body, test.body) || got.Base64 != nil {
				t.Errorf("got %d %q, want %d with %q", got.Status, got.Body, test.status, test.body)
			}
			if (got.Headers["Allow"] == "POST") != (test.status == 405) {
				t.Errorf("got headers %v", got.Headers)
			}
		})
	}
	result := program.Run(toolchaintest.Call{Stdin: []byte("{")})
	if result.Exit != 1 || len(result.Stdout) > 0 || !json.Valid(result.Stderr) {
		t.Errorf("broken request: got exit %d, %q, %q, want 1 and a message", result.Exit, result.Stdout, result.Stderr)
	}
}

// The largest pictures that are accepted fit into the default memory of a function.
func TestThumbnailMemory(t *testing.T) {
	t.Parallel()
	program := compile(t, "thumbnail") // 128 MiB
	for name, source := range map[string]image.Image{
		"png 16 bits": image.NewNRGBA64(image.Rect(0, 0, 2860, 2860)),
		"jpeg":        image.NewYCbCr(image.Rect(0, 0, 4690, 4690), image.YCbCrSubsampleRatio444),
	} {
		t.Run(name, func(t *testing.T) {
			mediaType, body := "image/png", []byte(nil)
			if name == "jpeg" {
				mediaType, body = "image/jpeg", encodeJPEG(t, source)
			} else {
				body = encodePNG(t, source)
			}
			got := call(t, program, toolchaintest.Call{Stdin: pictureRequest("POST", mediaType, "", body)})
			if got.Status != 200 {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
		})
	}
}
