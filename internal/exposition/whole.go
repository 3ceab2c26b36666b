package exposition

import (
	"errors"
	"hash/maphash"
	"io"
	"strings"

	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// entriesPerCheck is after how many entries the memory of new series is looked at.
const entriesPerCheck = 256

// whole reads a page that is not plain text (OpenMetrics, protobuf) or whose classic histograms become custom buckets:
// textparse reads all of it at once.
func (r *reading) whole(body io.Reader, contentType string) (Counts, error) {
	text, err := readAll(body)
	if err != nil {
		return Counts{}, err
	}
	opts := &r.page.opts
	parser, err := textparse.New(text, contentType, nil, textparse.ParserOptions{
		IgnoreNativeHistograms:                  !opts.NativeHistograms,
		ConvertClassicHistogramsToNHCB:          opts.ToCustomBuckets,
		KeepClassicOnClassicAndNativeHistograms: opts.ClassicToo,
		FallbackContentType:                     opts.Fallback,
	})
	if parser == nil {
		return r.counts, err
	}
	s := newStarts(r, parser, text, contentType)
	for n := 0; ; n++ {
		if n%entriesPerCheck == 0 {
			if err := r.checkGrowth(); err != nil {
				return r.counts, err
			}
		}
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return r.finish()
		}
		if err != nil {
			return r.counts, err
		}
		if err := r.entry(parser, entry, &s); err != nil {
			return r.counts, err
		}
	}
}

// entry takes one entry of textparse.
func (r *reading) entry(parser textparse.Parser, entry textparse.Entry, s *starts) error {
	switch entry {
	case textparse.EntryType:
		name, typ := parser.Type()
		r.family.parseType = typ
		r.turnTo(name)
		r.family.typ = series.TypeOf(typ)
		r.updateText(func(m *series.Meta) { m.Type = typ })
	case textparse.EntryHelp:
		name, help := parser.Help()
		r.turnTo(name)
		r.updateText(func(m *series.Meta) { m.Help = strings.Clone(string(help)) })
	case textparse.EntryUnit:
		name, unit := parser.Unit()
		r.turnTo(name)
		r.updateText(func(m *series.Meta) { m.Unit = strings.Clone(string(unit)) })
	case textparse.EntrySeries:
		text, own, v := parser.Series()
		created := s.observe(v)
		index, err := r.parsedSample(parser, text, own, v)
		if err != nil || index < 0 {
			return err
		}
		if !created {
			s.addTo(index)
		}
		r.takeExemplars(parser, maphash.Bytes(r.seed, text), index, false)
	case textparse.EntryHistogram:
		return r.takeHistogram(parser, s)
	}
	return nil
}

// turnTo makes name the current family. For another family it clears changed.
func (r *reading) turnTo(name []byte) {
	hash := r.hashFamily(name)
	r.family.changed = r.family.changed && r.family.hash == hash
	r.family.moveTo(hash)
}

// takeHistogram takes a native histogram.
func (r *reading) takeHistogram(parser textparse.Parser, s *starts) error {
	text, own, h, fh := parser.Histogram()
	s.observe(0)
	before := r.counts
	r.histogram = histogramCheck{overBuckets: r.page.opts.limitHistogram(h, fh), invalid: validate(h, fh)}
	index, err := r.parsedSample(parser, text, own, 0)
	refused := r.histogram.refused
	r.histogram = histogramCheck{}
	if refused != nil {
		r.counts = before
		r.counts.Scraped++
		return refused
	}
	if err != nil || index < 0 {
		return err
	}
	r.batch.Histograms = append(r.batch.Histograms, series.Histogram{Index: index, Integer: h, Float: fh})
	s.addTo(index)
	r.takeExemplars(parser, maphash.Bytes(r.seed, text), index, true)
	return nil
}
