package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
)

// maxDecoded bounds the memory that decoding a picture takes, in bytes: a file of
// a few kilobytes can announce gigabytes.
const maxDecoded = 64 << 20

type picture struct {
	image.Image
	orientation orientation
}

// decode reads a picture of one format once its header says that this is safe.
func decode(f format, source []byte) (*picture, error) {
	config, name, err := image.DecodeConfig(bytes.NewReader(source))
	if err != nil || name != f.name {
		return nil, errors.New("body is not a picture of type " + f.mediaType)
	}
	header := jpegHeader{orientation: 1}
	if name == "jpeg" {
		header = readJPEGHeader(source)
	}
	if decodedSize(config, header) > maxDecoded {
		return nil, fmt.Errorf("a picture of %d×%d pixels is too large", config.Width, config.Height)
	}
	decoded, _, err := image.Decode(bytes.NewReader(source))
	if err != nil {
		return nil, errors.New("body is damaged: " + err.Error())
	}
	return &picture{decoded, header.orientation}, nil
}

// decodedSize returns how many bytes the decoder will need, at least 1.
func decodedSize(config image.Config, header jpegHeader) int64 {
	perPixel := int64(4)
	switch config.ColorModel {
	case color.RGBA64Model, color.NRGBA64Model, color.CMYKModel: // CMYK is decoded twice
		perPixel = 8
	case color.YCbCrModel:
		perPixel = 3
	case color.GrayModel:
		perPixel = 1
	}
	if header.progressive {
		perPixel *= 5 // the decoder keeps a 32-bit coefficient for each sample
	}
	// Decoders work in blocks of up to 32×32 pixels.
	return max(1, (int64(config.Width)+32)*(int64(config.Height)+32)*perPixel)
}

// fit returns the size of the thumbnail before it is turned upright.
func (p *picture) fit(bounds image.Point) image.Point {
	if p.orientation.swapsSides() {
		bounds.X, bounds.Y = bounds.Y, bounds.X
	}
	size := p.Bounds().Size()
	if size.X <= bounds.X && size.Y <= bounds.Y {
		return size
	}
	// The side that has to shrink more decides: compare bounds.X/size.X and bounds.Y/size.Y.
	if bounds.X*size.Y <= bounds.Y*size.X {
		return image.Pt(bounds.X, max(1, (size.Y*bounds.X+size.X/2)/size.X))
	}
	return image.Pt(max(1, (size.X*bounds.Y+size.Y/2)/size.Y), bounds.Y)
}
