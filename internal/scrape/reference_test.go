package scrape

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// reference is a target as Prometheus' scrape loop treats it (scrape/scrape.go: scrapeLoopAppender.append,
// mutateSampleLabels, scrapeCache), written again with textparse, labels.Builder and relabel alone, and without any of
// this program's code. Its storage takes whatever is not a second sample of a series without a timestamp of its own.
//
// One thing is as decided here instead: what a text means follows the TYPE in force, where Prometheus keeps what the
// text meant first.
type reference struct {
	target labels.Labels
	cfg    *promconfig.ScrapeConfig
	round  int
	known  map[pageText]*appended       // whatever was appended since a good page last left it out
	latest map[string]exemplar.Exemplar // of each text, on good pages
	newest map[string]int64             // of each series that came with a timestamp of its own, in what was appended
	good   int64                        // time of the last good scrape
	live   []string                     // shown by the last page, even if it failed
}

// pageText is the text before a value, and the label that the TYPE in force makes a number.
type pageText struct{ text, bound string }

type appended struct {
	final string
	round int // last seen
}

// outcome is what a scrape yields: samples and markers in order.
type outcome struct {
	samples []outSample
	markers []string
	own     []outSample // of what the page showed, markers too: with a timestamp of its own
	others  []string    // without
	counts  exposition.Counts
	failed  bool
}

type outSample struct {
	series string
	bits   uint64
	time   int64
	rest   string // histogram and exemplars
}

// add appends what a page shows; in protobuf that can be a marker.
func (o *outcome) add(s outSample) {
	if value.IsStaleNaN(math.Float64frombits(s.bits)) {
		o.markers = append(o.markers, s.series)
	} else {
		o.samples = append(o.samples, s)
	}
}

// diff tells how another outcome differs; empty: not at all.
func (o outcome) diff(got outcome) string {
	if got.failed != o.failed || got.counts != o.counts {
		return fmt.Sprintf("failed %v %+v, want %v %+v", got.failed, got.counts, o.failed, o.counts)
	}
	if d := diffLists(got.samples, o.samples); d != "" {
		return "sample " + d
	}
	if d := diffLists(got.markers, o.markers); d != "" {
		return "marker " + d
	}
	return ""
}

func diffLists[T comparable](got, want []T) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("%d is missing: %q", i, fmt.Sprint(want[i]))
		case i >= len(want):
			return fmt.Sprintf("%d is too much: %q", i, fmt.Sprint(got[i]))
		case got[i] != want[i]:
			return fmt.Sprintf("%d is %q, want %q", i, fmt.Sprint(got[i]), fmt.Sprint(want[i]))
		}
	}
	return ""
}

func newReference(target labels.Labels, cfg *promconfig.ScrapeConfig) *reference {
	return &reference{target: target, cfg: cfg, known: map[pageText]*appended{}, latest: map[string]exemplar.Exemplar{},
		newest: map[string]int64{}}
}

// reload is a new configuration. The series may look different now.
func (r *reference) reload(cfg *promconfig.ScrapeConfig, sameSeries bool) {
	r.cfg = cfg
	if !sameSeries {
		clear(r.known)
	}
}

func (r *reference) scrape(page []byte, contentType string, now, maxTime int64) outcome {
	r.round++
	var out outcome
	var live []string
	if len(page) > 0 {
		var err error
		if live, err = r.read(&out, page, contentType, now, maxTime); err != nil {
			out.failed, out.samples, out.markers = true, nil, nil
			out.counts.Duplicates = 0
		} else {
			for text, a := range r.known {
				if a.round != r.round {
					delete(r.known, text)
				}
			}
		}
	}
	fromPage := len(out.markers)
	lives := map[string]bool{}
	for _, s := range live {
		lives[s] = true
	}
	for _, s := range r.live {
		if !lives[s] {
			out.markers = append(out.markers, s)
		}
	}
	r.age(out, slices.Clone(out.markers[fromPage:]), now)
	r.live = live
	return out
}

// age notes what a storage would remember of a scrape. Unlike it, this one forgets series without timestamps of their
// own when they are gone.
func (r *reference) age(out outcome, vanished []string, now int64) {
	if !out.failed {
		r.good = now
	}
	if !out.failed {
		for _, s := range out.own {
			if newest, known := r.newest[s.series]; !known || s.time > newest {
				r.newest[s.series] = s.time
			}
		}
		vanished = append(vanished, out.others...)
	}
	for _, s := range vanished {
		if newest, timed := r.newest[s]; timed {
			r.newest[s] = max(newest, now)
		}
	}
}

// late reports whether a sample is not newer than the last of its series.
func (r *reference) late(series string, at int64) bool {
	if newest, timed := r.newest[series]; timed {
		return at <= newest
	}
	return slices.Contains(r.live, series) && at <= r.good
}

// read appends a page, and returns the series that staleness follows from now on.
func (r *reference) read(out *outcome, page []byte, contentType string, now, maxTime int64) (live []string, err error) {
	parser, err := textparse.New(bytes.Clone(page), contentType, labels.NewSymbolTable(), textparse.ParserOptions{
		IgnoreNativeHistograms:                  !r.cfg.ScrapeNativeHistogramsEnabled(),
		ConvertClassicHistogramsToNHCB:          r.cfg.ConvertClassicHistogramsToNHCBEnabled(),
		KeepClassicOnClassicAndNativeHistograms: r.cfg.AlwaysScrapeClassicHistogramsEnabled(),
	})
	if parser == nil {
		return nil, err
	}
	latest := maps.Clone(r.latest)
	var typ model.MetricType
	var overLimit, overBuckets error
	c, passed := &out.counts, 0
	tracked, shown := map[string]bool{}, map[string]bool{}
	for {
		entry, err := parser.Next()
		switch {
		case errors.Is(err, io.EOF):
			if overLimit = cmp.Or(overLimit, overBuckets); overLimit == nil {
				r.latest = latest
			}
			return live, overLimit
		case err != nil:
			return live, err
		case entry == textparse.EntryType:
			_, typ = parser.Type()
			continue
		case entry != textparse.EntrySeries && entry != textparse.EntryHistogram:
			continue
		}
		c.Scraped++
		var text []byte
		var own *int64
		var v float64
		var h anyHistogram
		if entry == textparse.EntryHistogram {
			text, own, h.integer, h.float = parser.Histogram()
		} else {
			text, own, v = parser.Series()
		}
		if !r.cfg.HonorTimestamps {
			own = nil
		}
		key := pageText{string(text), bounds()[typ]}
		a := r.known[key]
		var twice bool
		isNew, repeated := a == nil, a != nil && a.round == r.round
		if isNew {
			final, keep, err := r.final(parser)
			if twice = errors.Is(err, errTwice); err != nil && !twice {
				return live, err
			}
			if !keep {
				continue
			}
			a = &appended{final: final}
		}
		a.round = r.round
		c.Kept++
		if repeated && own == nil {
			c.Duplicates++
			continue
		}
		if err := h.limit(r.cfg); errors.Is(err, exposition.ErrBucketLimit) {
			overBuckets = err
			continue
		} else if err != nil {
			c.Kept--
			return live, err
		}
		if isNew || !value.IsStaleNaN(v) {
			if passed++; r.cfg.SampleLimit > 0 && passed > int(r.cfg.SampleLimit) {
				overLimit = exposition.ErrSampleLimit
				continue
			}
		}
		if own != nil && *own > maxTime {
			c.OutOfBounds++
			continue
		}
		if err := h.validate(); err != nil || twice {
			c.Kept--
			return live, errInReference
		}
		if own != nil && r.late(a.final, *own) {
			c.OutOfOrder++
			continue
		}
		if isNew {
			r.known[key] = a
			if overBuckets == nil {
				c.Added++
			}
		}
		at := now
		if own != nil {
			at = *own
		}
		if (own == nil || r.cfg.TrackTimestampsStaleness) && !tracked[a.final] {
			tracked[a.final] = true
			live = append(live, a.final)
		}
		if own != nil {
			out.own = append(out.own, outSample{series: a.final, time: at})
			out.add(outSample{a.final, bitsOf(v), at, h.text() + exemplarsOf(parser, latest, string(text), at, h)})
			continue
		}
		if shown[a.final] {
			c.Duplicates++
			continue
		}
		shown[a.final] = true
		out.others = append(out.others, a.final)
		out.add(outSample{a.final, bitsOf(v), at, h.text() + exemplarsOf(parser, latest, string(text), at, h)})
	}
}

// anyHistogram is one of two kinds, or neither.
type anyHistogram struct {
	integer *histogram.Histogram
	float   *histogram.FloatHistogram
}

// limit is Prometheus' maxSchemaAppender and bucketLimitAppender.
func (h anyHistogram) limit(cfg *promconfig.ScrapeConfig) error {
	if h.integer == nil && h.float == nil {
		return nil
	}
	most := int32(8) // the finest whose buckets grow by the factor
	for factor := cfg.NativeHistogramMinBucketFactor; most > -4 && math.Pow(2, math.Pow(2, -float64(most))) < factor; {
		most--
	}
	if schema, _ := h.size(); histogram.IsExponentialSchemaReserved(schema) && schema > most {
		if err := h.reduce(most); err != nil {
			return err
		}
	}
	limit := int(cfg.NativeHistogramBucketLimit)
	for {
		schema, buckets := h.size()
		switch {
		case limit == 0 || buckets <= limit:
			return nil
		case schema <= -4 || schema > 8:
			return exposition.ErrBucketLimit
		}
		if err := h.reduce(schema - 1); err != nil {
			return err
		}
	}
}

func (h anyHistogram) size() (schema int32, buckets int) {
	if h.integer != nil {
		return h.integer.Schema, len(h.integer.PositiveBuckets) + len(h.integer.NegativeBuckets)
	}
	return h.float.Schema, len(h.float.PositiveBuckets) + len(h.float.NegativeBuckets)
}

func (h anyHistogram) reduce(to int32) error {
	if h.integer != nil {
		return h.integer.ReduceResolution(to)
	}
	return h.float.ReduceResolution(to)
}

func (h anyHistogram) validate() error {
	switch {
	case h.integer != nil:
		return h.integer.Validate()
	case h.float != nil:
		return h.float.Validate()
	default:
		return nil
	}
}

func (h anyHistogram) text() string {
	switch {
	case h.integer != nil:
		return fmt.Sprintf("integer %+v", *h.integer)
	case h.float != nil:
		return fmt.Sprintf("float %+v", *h.float)
	default:
		return ""
	}
}

// exemplarsOf are those of a sample that the agent's storage takes: not twice the same one in a row. Of a native
// histogram they are those that the server's storage takes: none that is older than the newest one.
func exemplarsOf(parser textparse.Parser, latest map[string]exemplar.Exemplar, text string, at int64,
	h anyHistogram) string {
	native := h.integer != nil || h.float != nil
	var found []exemplar.Exemplar
	for e := (exemplar.Exemplar{}); parser.Exemplar(&e); e = (exemplar.Exemplar{}) {
		if !e.HasTs {
			if native {
				continue
			}
			e.Ts = at
		}
		found = append(found, e)
	}
	slices.SortFunc(found, exemplar.Compare)
	var b strings.Builder
	for _, e := range found {
		e.Labels = e.Labels.WithoutEmpty()
		runes := 0
		e.Labels.Range(func(l labels.Label) { runes += len([]rune(l.Name)) + len([]rune(l.Value)) })
		if _, twice := e.Labels.HasDuplicateLabelNames(); twice || runes > 128 {
			continue
		}
		if last, ok := latest[text]; ok && (last.Equals(e) || native && exemplar.Compare(e, last) < 0) {
			continue
		}
		latest[text] = e
		b.WriteString(exemplarText(e))
	}
	return b.String()
}

func exemplarText(e exemplar.Exemplar) string {
	return fmt.Sprintf(" exemplar %q %x %d", e.Labels.String(), bitsOf(e.Value), e.Ts)
}

// bounds are the labels that textparse writes as numbers, by TYPE.
func bounds() map[model.MetricType]string {
	return map[model.MetricType]string{model.MetricTypeHistogram: "le", model.MetricTypeSummary: "quantile"}
}

// final returns the labels that a sample has in the end.
func (r *reference) final(parser textparse.Parser) (final string, keep bool, err error) {
	var printed labels.Labels
	parser.Labels(&printed)
	b := labels.NewBuilder(printed)
	if r.cfg.HonorLabels {
		r.target.Range(func(l labels.Label) {
			if !printed.Has(l.Name) {
				b.Set(l.Name, l.Value)
			}
		})
	} else {
		r.exportClashes(b, printed)
	}
	if !promrelabel.ProcessBuilder(b, r.cfg.MetricRelabelConfigs...) {
		return "", false, nil
	}
	l := b.Labels()
	if l.IsEmpty() {
		return "", false, nil
	}
	return seriesText(l), true, r.check(l)
}

// seriesText writes labels with separators that no label can hold.
func seriesText(l labels.Labels) string {
	var b strings.Builder
	l.Range(func(l labels.Label) { b.WriteString(l.Name + "\xff" + l.Value + "\xfe ") })
	return b.String()
}

// exportClashes gives the target's labels precedence; shorter names move first.
func (r *reference) exportClashes(b *labels.Builder, printed labels.Labels) {
	var clashes []labels.Label
	r.target.Range(func(l labels.Label) {
		if v := printed.Get(l.Name); v != "" {
			clashes = append(clashes, labels.Label{Name: l.Name, Value: v})
		}
		b.Set(l.Name, l.Value)
	})
	slices.SortStableFunc(clashes, func(a, b labels.Label) int { return len(a.Name) - len(b.Name) })
	for _, l := range clashes {
		name := "exported_" + l.Name
		for b.Get(name) != "" {
			name = "exported_" + name
		}
		b.Set(name, l.Value)
	}
}

var (
	errInReference = errors.New("the scrape fails")
	errTwice       = errors.New("the scrape fails unless a limit keeps the sample out")
)

func (r *reference) check(l labels.Labels) error {
	if !l.Has("__name__") || !l.IsValid(r.cfg.MetricNameValidationScheme) ||
		r.cfg.LabelLimit > 0 && l.Len() > int(r.cfg.LabelLimit) {
		return errInReference
	}
	err := l.Validate(func(l labels.Label) error {
		if n := int(r.cfg.LabelNameLengthLimit); n > 0 && len(l.Name) > n {
			return errInReference
		}
		if n := int(r.cfg.LabelValueLengthLimit); n > 0 && len(l.Value) > n {
			return errInReference
		}
		return nil
	})
	if _, twice := l.HasDuplicateLabelNames(); twice && err == nil {
		return errTwice
	}
	return err
}
