package exposition

import (
	"errors"
	"hash/maphash"
	"io"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// entriesAChunk is after how many entries the memory of new series is looked at.
const entriesAChunk = 256

// readWhole reads a page that is not plain text (OpenMetrics, protobuf) or is to be converted: textparse reads
// all of it at once.
func (p *Page) readWhole(body io.Reader, contentType string) (Counts, error) {
	text, err := readAll(body)
	if err != nil {
		return Counts{}, err
	}
	parser, err := textparse.New(text, contentType, nil, textparse.ParserOptions{
		IgnoreNativeHistograms:                  !p.opts.NativeHistograms,
		ConvertClassicHistogramsToNHCB:          p.opts.ToCustomBuckets,
		KeepClassicOnClassicAndNativeHistograms: p.opts.ClassicToo,
		FallbackContentType:                     p.opts.Fallback,
	})
	if parser == nil {
		return p.counts, err
	}
	s := p.findStarts(parser, text, contentType)
	for n := 0; ; n++ {
		if n%entriesAChunk == 0 {
			if err := p.withinGrowth(); err != nil {
				return p.counts, err
			}
		}
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return p.finish()
		}
		if err != nil {
			return p.counts, err
		}
		if err := p.takeEntry(parser, entry, &s); err != nil {
			return p.counts, err
		}
	}
}

func (p *Page) takeEntry(parser textparse.Parser, entry textparse.Entry, s *starts) error {
	switch entry {
	case textparse.EntryType:
		name, typ := parser.Type()
		p.parseType = typ
		p.turnTo(p.familyHash(name))
		p.family.typ = series.TypeOf(typ)
		p.remember(func(m *series.Meta) { m.Type = typ })
	case textparse.EntryHelp:
		name, help := parser.Help()
		p.turnTo(p.familyHash(name))
		p.remember(func(m *series.Meta) { m.Help = strings.Clone(string(help)) })
	case textparse.EntryUnit:
		name, unit := parser.Unit()
		p.turnTo(p.familyHash(name))
		p.remember(func(m *series.Meta) { m.Unit = strings.Clone(string(unit)) })
	case textparse.EntrySeries:
		text, own, v := parser.Series()
		created := s.meet(p, v)
		index, err := p.take(parser, text, own, v)
		if err != nil || index < 0 {
			return err
		}
		if !created {
			s.give(p.batch, index)
		}
		p.takeExemplars(parser, maphash.Bytes(p.layouts.seed, text), index, false)
	case textparse.EntryHistogram:
		return p.takeHistogram(parser, s)
	}
	return nil
}

// turnTo makes a family the one in force: nothing new was said of it yet.
func (p *Page) turnTo(hash uint64) {
	p.changed = p.changed && p.family.hash == hash
	p.family = p.family.moved(hash)
}

func (p *Page) takeHistogram(parser textparse.Parser, s *starts) error {
	text, own, h, fh := parser.Histogram()
	s.meet(p, 0)
	before := p.counts
	p.histogram.unlimited = p.limitHistogram(h, fh)
	p.histogram.invalid = validate(h, fh)
	index, err := p.take(parser, text, own, 0)
	refused := p.histogram.refused
	p.histogram = histogramAtHand{}
	if refused != nil {
		p.counts = before
		p.counts.Scraped++
		return refused
	}
	if err != nil || index < 0 {
		return err
	}
	p.batch.Histograms = append(p.batch.Histograms, series.Histogram{Index: index, Integer: h, Float: fh})
	s.give(p.batch, index)
	p.takeExemplars(parser, maphash.Bytes(p.layouts.seed, text), index, true)
	return nil
}

// histogramAtHand is what is wrong with a histogram, until it is known whether it is taken at all.
type histogramAtHand struct {
	unlimited error // why its resolution could not be lowered to the limits; this comes before sample_limit
	invalid   error // this after it
	refused   error // one of them, for which the scrape ends here
}

// withinLimits is countSample for a sample that may be a histogram, whose limits come first.
func (p *Page) withinLimits() bool {
	switch err := p.histogram.unlimited; {
	case err == nil:
		return p.countSample()
	case !errors.Is(err, ErrBucketLimit):
		p.histogram.refused = err
	case p.limitErr == nil:
		p.limitErr = err
	}
	return false
}

// validate refuses a histogram whose buckets contradict its count or its schema.
func validate(h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	if h != nil {
		return h.Validate()
	}
	return fh.Validate()
}

// limitHistogram lowers the resolution of a histogram to what the configuration allows.
func (p *Page) limitHistogram(h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	for {
		var schema int32
		var buckets int
		if h != nil {
			schema, buckets = h.Schema, len(h.PositiveBuckets)+len(h.NegativeBuckets)
		} else {
			schema, buckets = fh.Schema, len(fh.PositiveBuckets)+len(fh.NegativeBuckets)
		}
		tooFine := histogram.IsExponentialSchemaReserved(schema) && schema > p.opts.MaxHistogramSchema
		tooMany := p.opts.BucketLimit > 0 && buckets > p.opts.BucketLimit
		to := schema - 1
		switch {
		case tooFine:
			to = p.opts.MaxHistogramSchema
		case !tooMany:
			return nil
		case !histogram.IsExponentialSchema(schema) || schema <= histogram.ExponentialSchemaMin:
			return ErrBucketLimit
		}
		var err error
		if h != nil {
			err = h.ReduceResolution(to)
		} else {
			err = fh.ReduceResolution(to)
		}
		if err != nil {
			return err
		}
	}
}
