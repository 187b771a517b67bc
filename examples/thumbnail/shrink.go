package main

import (
	"image"
	"image/draw"
)

// shrink returns a picture of the given size, which is at most the source's, in
// which each pixel is the mean of those it stands for. It holds one line of the
// source at a time, however large the source is.
func shrink(source image.Image, size image.Point) *image.RGBA {
	from := source.Bounds()
	out := image.NewRGBA(image.Rectangle{Max: size})
	if from.Empty() || size.X == 0 || size.Y == 0 {
		return out
	}
	line := image.NewRGBA(image.Rect(0, 0, from.Dx(), 1))
	// Colors are premultiplied by alpha, so transparent pixels do not bleed into
	// the mean. Sums are 64 bits: a side of 65,535 pixels overflows 32.
	sums := make([]uint64, 4*size.X)
	for y := range from.Dy() {
		draw.Draw(line, line.Rect, source, from.Min.Add(image.Pt(0, y)), draw.Src)
		// Line y covers [y, y+1) of the source and so [y, y+1)·size.Y/from.Dy() of the
		// thumbnail: one or two of its lines. All in units of 1/from.Dy() of a line.
		start, end := y*size.Y, (y+1)*size.Y
		row := start / from.Dy()
		boundary := (row + 1) * from.Dy()
		addLine(sums, line.Pix, from.Dx(), size.X, min(end, boundary)-start)
		if end < boundary {
			continue
		}
		mean(out.Pix[row*out.Stride:], sums, uint64(from.Dx())*uint64(from.Dy()))
		clear(sums)
		if end > boundary {
			addLine(sums, line.Pix, from.Dx(), size.X, end-boundary)
		}
	}
	return out
}

// addLine adds a line of the source, of width from, to sums, of width to, with a weight.
func addLine(sums []uint64, pix []byte, from, to, weight int) {
	for x := range from {
		start, end := x*to, (x+1)*to
		column := start / from
		boundary := (column + 1) * from
		add(sums[4*column:], pix[4*x:], uint64(weight*(min(end, boundary)-start)))
		if end > boundary {
			add(sums[4*column+4:], pix[4*x:], uint64(weight*(end-boundary)))
		}
	}
}

func add(sums []uint64, pixel []byte, weight uint64) {
	for i, c := range pixel[:4] {
		sums[i] += weight * uint64(c)
	}
}

func mean(line []byte, sums []uint64, weight uint64) {
	for i, sum := range sums {
		line[i] = byte((sum + weight/2) / weight)
	}
}
