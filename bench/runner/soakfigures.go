package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// Figures that a soak follows.
const (
	soakRSS         = "RSS bytes"
	soakAnonymous   = "anonymous bytes"
	soakHeap        = "go_memstats_heap_inuse_bytes"
	soakGoroutines  = "go_goroutines"
	soakDescriptors = "descriptors"
	soakThreads     = "threads"
	soakSeries      = "envoy_scraper_scrape_series"
	soakSymbols     = "envoy_scraper_scrape_symbols"
	soakLayouts     = "envoy_scraper_scrape_layouts"

	readMetric = "envoy_scraper_scrape_samples_total"
	dropMetric = "envoy_scraper_scrape_dropped_samples_total"
	sendMetric = "envoy_scraper_remotewrite_samples_dropped_total"
)

// ownMetrics are a program's own metrics, each summed over its labels.
type ownMetrics map[string]float64

func parseMetrics(text []byte) (ownMetrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	m := ownMetrics{}
	for name, f := range families {
		switch f.GetType() {
		case dto.MetricType_COUNTER, dto.MetricType_GAUGE, dto.MetricType_UNTYPED:
		default:
			continue
		}
		for _, s := range f.GetMetric() {
			m[name] += s.GetCounter().GetValue() + s.GetGauge().GetValue() + s.GetUntyped().GetValue()
		}
	}
	return m, nil
}

// look is everything that must stay flat, at this moment.
func (b *bed) look(ctx context.Context) (map[string]float64, error) {
	u, err := processUsage(b.agent.pid())
	if err != nil {
		return nil, err
	}
	m, err := b.metrics(ctx)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{
		soakRSS: float64(u.Resident), soakAnonymous: float64(u.Anonymous), soakDescriptors: float64(u.Descriptors),
		soakThreads: float64(u.Threads),
		soakHeap:    m[soakHeap], soakGoroutines: m[soakGoroutines],
	}
	for _, name := range []string{soakSeries, soakSymbols, soakLayouts} {
		if v, known := m[name]; known { // older builds do not tell
			values[name] = v
		}
	}
	return values, nil
}

// Thirds shows the course of one figure: the medians of the first, middle and last third
// of the time. It is flat if the last is not above the middle by more than a
// twentieth and what such figures vary by anyway.
type Thirds struct {
	Figure string  `json:"figure"`
	First  float64 `json:"first_third"`
	Middle float64 `json:"middle_third"`
	Last   float64 `json:"last_third"`
	Low    float64 `json:"min"`
	High   float64 `json:"max"`
	Flat   bool    `json:"flat"`
}

func thirds(points []SoakPoint) []Thirds {
	if len(points) < 3 {
		return nil
	}
	end := points[len(points)-1].Seconds
	var out []Thirds
	for _, name := range slices.Sorted(maps.Keys(points[0].Values)) {
		var parts [3][]float64
		var all []float64
		for _, p := range points {
			part := min(2, int(p.Seconds/end*3))
			parts[part] = append(parts[part], p.Values[name])
			all = append(all, p.Values[name])
		}
		t := Thirds{Figure: name, First: median(parts[0]), Middle: median(parts[1]), Last: median(parts[2]),
			Low: slices.Min(all), High: slices.Max(all)}
		t.Flat = t.Last <= t.Middle*1.05+varies(name)
		out = append(out, t)
	}
	return out
}

// varies is how much a figure goes up and down without a leak.
func varies(name string) float64 {
	switch name {
	case soakRSS, soakAnonymous, soakHeap:
		return 2 << 20
	case soakGoroutines, soakDescriptors, soakThreads, soakLayouts:
		return 10
	}
	return 0
}

// Account follows the samples from the pages to the receiver. A target that
// leaves may be cut off in the midst of a page: the fleet has served it whole,
// the agent throws it away.
type Account struct {
	Served        int64  `json:"served"`
	Read          int64  `json:"read"`    // by the agent, as it says
	Dropped       int64  `json:"dropped"` // by the agent, as it says, before and after they became requests
	Received      int64  `json:"received"`
	CutOff        int64  `json:"cut_off"`         // served but not read, in samples
	CutOffLimit   int64  `json:"cut_off_limit"`   // departures explain no more
	Lost          int64  `json:"lost"`            // read but not received, those dropped included
	FailedScrapes uint64 `json:"failed_scrapes"`  // up=0 at the receiver
	Violations    uint64 `json:"violations"`      // of the receiver's checks
	ViolationKind string `json:"violation_kinds"` // in words
}

func account(served fleet.Stats, received receiver.Stats, m ownMetrics, departures int) Account {
	a := Account{
		Served: int64(served.Samples), Received: int64(received.Page()), Read: int64(m[readMetric]),
		Dropped:     int64(m[dropMetric] + m[sendMetric]),
		CutOffLimit: int64(served.Series) * int64(1+departures/50), Violations: received.ViolationsTotal,
		ViolationKind: received.Kinds(),
	}
	if _, known := m[readMetric]; !known {
		a.Read = a.Received // then all that is missing counts as cut off
	}
	a.CutOff, a.Lost = a.Served-a.Read, a.Read-a.Received
	return a
}

// Err returns every condition that the soak did not meet.
func (r SoakReport) Err() error {
	var errs []error
	for _, t := range r.Thirds {
		if !t.Flat {
			errs = append(errs, fmt.Errorf("%s is not flat: %.0f in the middle third, %.0f in the last", t.Figure,
				t.Middle, t.Last))
		}
	}
	if len(r.Thirds) == 0 {
		errs = append(errs, errors.New("too short to say anything"))
	}
	a := r.Account
	if a.Lost != 0 {
		errs = append(errs, fmt.Errorf("%d samples that were read never arrived; the agent says that it dropped %d",
			a.Lost, a.Dropped))
	}
	if a.CutOff > a.CutOffLimit || a.CutOff < 0 {
		errs = append(errs, fmt.Errorf("%d samples were served but not read; departures explain at most %d", a.CutOff,
			a.CutOffLimit))
	}
	if a.FailedScrapes != 0 {
		errs = append(errs, fmt.Errorf("%d scrapes failed", a.FailedScrapes))
	}
	if a.Violations != 0 {
		errs = append(errs, fmt.Errorf("violations: %s", a.ViolationKind))
	}
	return errors.Join(errs...)
}

func (r SoakReport) table() [][]string {
	cells := [][]string{{"figure", "first third", "middle third", "last third", "min", "max", "flat"}}
	for _, t := range r.Thirds {
		form := digits(0)
		name := t.Figure
		if strings.HasSuffix(name, "bytes") {
			form, name = mibs, name+", MiB"
		}
		cells = append(cells, []string{name, form(t.First), form(t.Middle), form(t.Last), form(t.Low), form(t.High),
			map[bool]string{true: "yes", false: "NO"}[t.Flat]})
	}
	return cells
}

func (r SoakReport) head() []string {
	a := r.Account
	lines := append(r.Report.head(),
		r.Fleet+"; every "+r.Interval,
		fmt.Sprintf("%d rotations, %d departures of targets; %d looks; %.3f CPU-s/M samples, others used %.2f cores",
			r.Rotations, r.Departures, len(r.Points), r.CPU, r.Noise),
		fmt.Sprintf("samples: %d served, %d read (%d cut off as their target left, at most %d), "+
			"%d received: %d lost, of which the agent counts %d; %d series, "+
			"%d markers; %d scrapes failed; %d violations %s",
			a.Served, a.Read, a.CutOff, a.CutOffLimit, a.Received, a.Lost, a.Dropped, r.Received.DistinctSeries,
			r.Received.Stale, a.FailedScrapes, a.Violations, a.ViolationKind))
	if err := r.Err(); err != nil {
		return append(lines, "NOT GOOD: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return append(lines, "good: flat, nothing lost, no violation")
}

// WriteText prints the report for a terminal.
func (r SoakReport) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r SoakReport) WriteMarkdown(w io.Writer) error {
	return writeMarkdownTable(w, r.head(), r.table())
}

// WriteJSON keeps everything, each look included.
func (r SoakReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
