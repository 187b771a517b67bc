package memory

import (
	"bytes"
	"cmp"
	"slices"
)

// Where writes are not noted ([UndoPagemap]), every page that was kept would
// have to be compared at each restore, because it is the memory's own as one
// that was just written to is. That is nothing for a hundred pages and worse
// than copying for the thousands that an interpreter keeps. So when many are
// kept, stretches of them become a file, mapped over the memory copy on write,
// and only what is written to then is the memory's own.

const (
	// overlayFrom is the number of bytes kept from which on it is done.
	overlayFrom = 1 << 20
	// maxOverlays bounds the stretches, and so the mappings (see maxMapped).
	maxOverlays = 16
	// minOverlay is how many pages a stretch has at least.
	minOverlay = 32
)

// overlay is a stretch of pages that are all kept.
type overlay struct {
	pageRange
	slot int // of the first page, in kept
}

// stretches are the parts of pages, ascending, to lay over, with the gaps in
// them at most as long as what lies before.
func stretches(pages []uint32) []pageRange {
	type stretch struct {
		pageRange
		full uint64 // pages without the gaps
	}
	var all []stretch
	for _, n := range pages {
		p := uint64(n)
		if last := len(all) - 1; last >= 0 && p-all[last].to <= all[last].full {
			all[last].to = p + 1
			all[last].full++
		} else {
			all = append(all, stretch{pageRange{p, p + 1}, 1})
		}
	}
	all = slices.DeleteFunc(all, func(s stretch) bool { return s.full < minOverlay })
	slices.SortStableFunc(all, func(a, b stretch) int { return cmp.Compare(b.full, a.full) })
	all = all[:min(len(all), maxOverlays)]
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	ranges := make([]pageRange, len(all))
	for i, s := range all {
		ranges[i] = s.pageRange
	}
	return ranges
}

// fill adds the gaps of stretches to the kept pages.
func (k *kept) fill(ranges []pageRange) []overlay {
	overlays := make([]overlay, 0, len(ranges))
	pages := make([]uint32, 0, 2*len(k.pages))
	rest := k.pages
	for _, r := range ranges {
		for len(rest) > 0 && uint64(rest[0]) < r.from {
			pages, rest = append(pages, rest[0]), rest[1:]
		}
		overlays = append(overlays, overlay{r, len(pages)})
		for p := r.from; p < r.to; p++ {
			pages = append(pages, uint32(p))
		}
		for len(rest) > 0 && uint64(rest[0]) < r.to {
			rest = rest[1:]
		}
	}
	k.pages = append(pages, rest...)
	return overlays
}

// overlaid is whether giving page p back makes it what was kept.
func (l *Linear) overlaid(p uint64) bool {
	for _, o := range l.overlays {
		if p < o.to {
			return p >= o.from
		}
	}
	return false
}

// lay keeps the contents of the kept pages, or of more, in a file, and maps it
// over the memory. It returns false if there is nothing to gain or no such file.
func (l *Linear) lay() (bool, error) {
	if l.undo != UndoPagemap || uint64(len(l.kept.pages))*pageSize < overlayFrom {
		return false, nil
	}
	ranges := stretches(l.kept.pages)
	if len(ranges) == 0 {
		return false, nil
	}
	before := l.kept.pages
	overlays := l.kept.fill(ranges)
	laid, err := l.layFile(overlays)
	if !laid {
		l.kept.pages = before
		return false, err
	}
	l.overlays = overlays
	for _, o := range overlays {
		clear(l.idle[o.from:o.to])
	}
	return true, nil
}

// lift maps again what was there before lay, with the present contents or with
// the image's.
func (l *Linear) lift(contents bool) error {
	for _, o := range l.overlays {
		over := l.reserved[o.from*pageSize : o.to*pageSize]
		var now []byte
		if contents {
			var err error
			if now, err = allocate(uint64(len(over))); err != nil {
				return err
			}
			copy(now, over)
		}
		if err := remap(l.reserved, o.from*pageSize, o.to*pageSize, l.image); err != nil {
			return err
		}
		l.image.copyTo(l.reserved, o.from*pageSize, o.to*pageSize)
		clear(l.idle[o.from:o.to])
		if !contents {
			continue
		}
		for p := o.from; p < o.to; p++ {
			want, _ := l.image.page(p * pageSize)
			if want == nil {
				want = zeroPage()
			}
			if page := now[(p-o.from)*pageSize:][:pageSize]; !bytes.Equal(page, want) {
				copy(l.page(p), page)
			}
		}
		if err := release(now); err != nil {
			return err
		}
	}
	l.overlays = nil
	return nil
}
