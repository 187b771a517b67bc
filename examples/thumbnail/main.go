// Thumbnail makes pictures smaller: the body is a PNG or JPEG, so is the answer.
// The URL's w and h bound its width and height; proportions are kept, small
// pictures are not blown up, and photographs are turned upright.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"log/slog"
	"mime"
	"os"
	"strconv"
)

const (
	defaultSide = 200  // pixels
	maxSide     = 2000 // pixels
	jpegQuality = 85
)

// request is what the server writes to stdin (contract json).
type request struct {
	Method  string              `json:"method"`
	Query   map[string][]string `json:"query"`
	Headers map[string][]string `json:"headers"`
	Text    string              `json:"body"`
	Base64  []byte              `json:"body_base64"` // in place of Text when the body is not UTF-8
}

// response is what the server reads from stdout. Bytes go as base64.
type response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Text    string            `json:"body,omitempty"`
	Base64  []byte            `json:"body_base64,omitempty"`
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		log.Error("the request on stdin is not what the contract says", "error", err)
		os.Exit(1) // the server answers 502
	}
	resp, err := handle(&req)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(resp)
	}
	if err != nil {
		log.Error(err.Error())
		os.Exit(1)
	}
}

func handle(req *request) (*response, error) {
	if req.Method != "POST" {
		resp := refuse(405, "method not allowed")
		resp.Headers["Allow"] = "POST"
		return resp, nil
	}
	format, ok := formats[mediaType(req.Headers["Content-Type"])]
	if !ok {
		return refuse(415, "content type must be image/png or image/jpeg"), nil
	}
	bounds, err := parseBounds(req.Query)
	if err != nil {
		return refuse(422, err.Error()), nil
	}
	source := req.Base64
	if source == nil {
		source = []byte(req.Text)
	}
	picture, err := decode(format, source)
	if err != nil {
		return refuse(422, err.Error()), nil
	}
	var thumbnail bytes.Buffer
	if err := format.encode(&thumbnail, upright(shrink(picture.Image, picture.fit(bounds)), picture.orientation)); err != nil {
		return nil, err
	}
	return &response{Status: 200, Headers: map[string]string{"Content-Type": format.mediaType}, Base64: thumbnail.Bytes()}, nil
}

// format is a picture format that goes in and comes out.
type format struct {
	name, mediaType string
	encode          func(*bytes.Buffer, image.Image) error
}

var formats = map[string]format{
	"image/png": {"png", "image/png", func(b *bytes.Buffer, i image.Image) error { return png.Encode(b, i) }},
	"image/jpeg": {"jpeg", "image/jpeg", func(b *bytes.Buffer, i image.Image) error {
		return jpeg.Encode(b, i, &jpeg.Options{Quality: jpegQuality})
	}},
}

func mediaType(values []string) string {
	if len(values) == 0 {
		return ""
	}
	t, _, err := mime.ParseMediaType(values[0])
	if err != nil {
		return ""
	}
	return t
}

// parseBounds returns the box that the thumbnail has to fit into. What the URL
// does not bound may be as large as thumbnails get.
func parseBounds(query map[string][]string) (image.Point, error) {
	w, err := parseSide(query, "w")
	if err != nil {
		return image.Point{}, err
	}
	h, err := parseSide(query, "h")
	if err != nil {
		return image.Point{}, err
	}
	switch {
	case w == 0 && h == 0:
		w, h = defaultSide, defaultSide
	case w == 0:
		w = maxSide
	case h == 0:
		h = maxSide
	}
	return image.Pt(w, h), nil
}

// parseSide returns 0 for a side that the URL does not give.
func parseSide(query map[string][]string, name string) (int, error) {
	values := query[name]
	if len(values) == 0 {
		return 0, nil
	}
	n, err := strconv.Atoi(values[0])
	if err != nil || n < 1 || n > maxSide {
		return 0, fmt.Errorf("%s must be a number from 1 to %d", name, maxSide)
	}
	return n, nil
}

func refuse(status int, message string) *response {
	return &response{
		Status:  status,
		Headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"},
		Text:    message + "\n",
	}
}
