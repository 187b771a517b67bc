package main

import (
	"bytes"
	"encoding/binary"
	"image"
)

// jpegHeader is what a JPEG says of itself that image/jpeg does not tell.
type jpegHeader struct {
	progressive bool
	orientation orientation
}

// readJPEGHeader walks the segments before the first scan (ITU-T T.81, annex B).
// What is damaged ends the walk: the decoder will say what is wrong.
func readJPEGHeader(source []byte) jpegHeader {
	header := jpegHeader{orientation: 1}
	rest := source[min(2, len(source)):] // the start of image
	for len(rest) >= 4 && rest[0] == 0xff {
		marker, size := rest[1], int(binary.BigEndian.Uint16(rest[2:]))
		if marker == 0xff { // padding before a marker
			rest = rest[1:]
			continue
		}
		if marker == 0xda || size < 2 || len(rest) < 2+size { // start of scan
			break
		}
		segment := rest[4 : 2+size]
		switch marker {
		case 0xc2: // start of frame, progressive
			header.progressive = true
		case 0xe1: // APP1
			if exif, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00")); ok {
				header.orientation = readOrientation(exif)
			}
		}
		rest = rest[2+size:]
	}
	return header
}

// orientation says how a photograph has to be turned to be upright, in the
// numbers of Exif's tag 0x0112 (JEITA CP-3451, section 4.6.4): 1 is upright, 2 to
// 8 are mirrored and turned.
type orientation int

func (o orientation) swapsSides() bool { return o >= 5 }

// readOrientation looks for the tag in the first directory of a TIFF header.
// Anything out of the ordinary is upright.
func readOrientation(exif []byte) orientation {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(exif, []byte("II*\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(exif, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return 1
	}
	if len(exif) < 8 {
		return 1
	}
	offset := int64(order.Uint32(exif[4:]))
	if offset+2 > int64(len(exif)) {
		return 1
	}
	entries := exif[offset+2:]
	for range order.Uint16(exif[offset:]) {
		if len(entries) < 12 {
			break
		}
		const short = 3
		if order.Uint16(entries) == 0x0112 && order.Uint16(entries[2:]) == short {
			if o := orientation(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
		}
		entries = entries[12:]
	}
	return 1
}

// upright returns the picture as it is to be seen.
func upright(source *image.RGBA, o orientation) *image.RGBA {
	if o == 1 {
		return source
	}
	w, h := source.Rect.Dx(), source.Rect.Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if o.swapsSides() {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			to := place(o, x, y, w, h)
			copy(out.Pix[out.PixOffset(to.X, to.Y):][:4], source.Pix[source.PixOffset(x, y):])
		}
	}
	return out
}

// place says where a stored pixel is seen: the orientation's number tells which
// sides of the scene the first line and the first column are.
func place(o orientation, x, y, w, h int) image.Point {
	right, bottom := w-1-x, h-1-y
	switch o {
	case 2:
		return image.Pt(right, y)
	case 3:
		return image.Pt(right, bottom)
	case 4:
		return image.Pt(x, bottom)
	case 5:
		return image.Pt(y, x)
	case 6:
		return image.Pt(bottom, x)
	case 7:
		return image.Pt(bottom, right)
	case 8:
		return image.Pt(y, right)
	}
	return image.Pt(x, y)
}
