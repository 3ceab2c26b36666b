// Package delay writes several scrapes of a target in one request to a real Prometheus, in remote write 1.0 and 2.0. It
// proves that Prometheus stores what was scraped, with the timestamps of the scrapes, and refuses nothing as out of
// order or as a duplicate; and that a request that is repeated after kill -9 costs no newer sample.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./delay
package delay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// TestDelay compares four databases of the same scrapes: with one and with three scrapes a request, in both versions.
func TestDelay(t *testing.T) {
	w := newWorld(t)
	for version := 1; version <= 2; version++ {
		w.addDatabase(version, 1)
		w.addDatabase(version, columns)
	}
	w.start()
	w.scraped(7 * columns)
	w.finish()
	first := w.databases[0]
	for _, db := range w.databases {
		w.checkScrapes(db)
		w.checkRefusals(db)
		w.checkSame(first, db)
	}
	scrapes := w.fleet.Served()
	for i := 0; i < len(w.databases); i += 2 {
		// A target's first request has one to three scrapes, and its last one what is left. Small pages share requests.
		one, several := w.posts(w.databases[i]), w.posts(w.databases[i+1])
		t.Logf("%d scrapes; %d requests to %s, %d to %s", scrapes, one, w.databases[i].name, several,
			w.databases[i+1].name)
		if several*2 >= scrapes || several >= one {
			t.Errorf("%d scrapes: %d requests with %d each, and %d with one; want about a third", scrapes, several,
				columns, one)
		}
	}
}

// TestKillBeforeTheAnswer kills the agent while Prometheus has stored a request and the agent does not know it. The
// next process repeats it, with newer samples in the same request: these must be stored, and nothing counted as
// dropped.
func TestKillBeforeTheAnswer(t *testing.T) {
	for version := 1; version <= 2; version++ {
		t.Run(fmt.Sprintf("%d.0", version), func(t *testing.T) {
			w := newWorld(t)
			db := w.addDatabase(version, columns)
			proxy := w.swallow(db)
			w.start()
			w.scraped(2 * columns)
			proxy.on.Store(true)
			parts.Eventually(t, patience, "an answer is withheld", func() error {
				if proxy.withheld.Load() == 0 {
					return fmt.Errorf("no request was stored")
				}
				return nil
			})
			w.scraped(2) // which wait behind it
			w.agent.Process.Kill()
			proxy.on.Store(false)
			w.start()
			w.scraped(columns)
			w.finish()
			w.checkScrapes(db)
			writes, err := db.Writes(t.Context())
			t.Logf("%v answers withheld; samples refused as out of order: %v; answers: %v, %v", proxy.withheld.Load(),
				w.metric(db, "prometheus_tsdb_out_of_order_samples_total"), writes, err)
		})
	}
}

// stored returns the stored samples of one series of a target.
func (w *world) stored(db *database, instance, number string) []model.SamplePair {
	w.Helper()
	matrix, err := db.Samples(w.Context(), fmt.Sprintf("%s{instance=%q, series=%q}[1h]", oracle.Metric, instance,
		number))
	if err != nil {
		w.Fatal(err)
	}
	if len(matrix) == 0 {
		return nil
	}
	return matrix[0].Values
}

// checkScrapes checks that each series has the value of each scrape that was served, at the time of the scrape.
func (w *world) checkScrapes(db *database) {
	w.Helper()
	for _, t := range w.fleet.Targets {
		served := t.Served()
		for i := range series {
			samples := w.stored(db, t.Address, fmt.Sprintf("%03d", i))
			if err := match(samples, served); err != nil {
				w.Errorf("%s: series %03d of %s: %v", db.name, i, t.Address, err)
				break
			}
		}
	}
}

// match compares the samples of a series with the scrapes. A scrape has the time at which it began, or up to
// alignment later.
func match(samples []model.SamplePair, served []oracle.Scrape) error {
	const alignment = 10 * time.Millisecond
	if len(samples) != len(served) {
		return fmt.Errorf("%d samples of %d scrapes", len(samples), len(served))
	}
	for i, s := range samples {
		at := s.Timestamp.Time()
		if int(s.Value) != served[i].Number || at.After(served[i].At.Add(alignment)) ||
			i > 0 && at.Before(served[i-1].At) {
			return fmt.Errorf("scrape %d, served at %v, is stored as %v at %v", served[i].Number, served[i].At, s.Value,
				at)
		}
	}
	return nil
}

// checkSame checks that two databases have the same samples of all series, report series included.
func (w *world) checkSame(a, b *database) {
	w.Helper()
	const all = `{job="delay"}[1h]`
	x, err := a.Samples(w.Context(), all)
	if err != nil {
		w.Fatal(err)
	}
	y, err := b.Samples(w.Context(), all)
	if err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(x, byLabels)
	slices.SortFunc(y, byLabels)
	if len(x) < targets*series || len(x) != len(y) {
		w.Errorf("%d series in %s, %d in %s", len(x), a.name, len(y), b.name)
		return
	}
	for i := range x {
		if x[i].String() != y[i].String() {
			w.Errorf("%s has\n%v\n%s has\n%v", a.name, x[i], b.name, y[i])
			return
		}
	}
	w.Logf("%s, %s: %d series compared", a.name, b.name, len(x))
}

func byLabels(a, b *model.SampleStream) int {
	switch {
	case a.Metric.Before(b.Metric):
		return -1
	case b.Metric.Before(a.Metric):
		return 1
	}
	return 0
}

// checkRefusals checks that Prometheus refused no sample, and stored all that it took.
func (w *world) checkRefusals(db *database) {
	w.Helper()
	for _, name := range []string{"prometheus_tsdb_out_of_order_samples_total", "prometheus_tsdb_too_old_samples_total",
		"prometheus_tsdb_out_of_bound_samples_total", "prometheus_tsdb_head_out_of_order_samples_appended_total",
		"prometheus_api_remote_write_invalid_labels_samples_total"} {
		if got := w.metric(db, name); got != 0 {
			w.Errorf("%s: %s is %v, want 0", db.name, name, got)
		}
	}
	matrix, err := db.Samples(w.Context(), `{job="delay"}[1h]`)
	if err != nil {
		w.Fatal(err)
	}
	stored := 0.0
	for _, s := range matrix {
		stored += float64(len(s.Values))
	}
	// Each series of a page ends with a staleness marker, which queries do not return.
	want := stored + targets*series
	if got := w.metric(db, "prometheus_tsdb_head_samples_appended_total"); got != want {
		w.Errorf("%s: %v samples appended, want the %v that are stored and a marker of each series: %v", db.name, got,
			stored, want)
	}
}

// metric returns the sum of one of Prometheus' own metrics.
func (w *world) metric(db *database, name string) float64 {
	w.Helper()
	v, err := db.Metric(w.Context(), name)
	if err != nil {
		w.Fatal(err)
	}
	return v
}

// posts returns the number of requests that Prometheus answered.
func (w *world) posts(db *database) (n int) {
	w.Helper()
	writes, err := db.Writes(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for code, count := range writes {
		if code[0] != '2' {
			w.Errorf("%s: %d requests answered with %s", db.name, count, code)
		}
		n += count
	}
	return n
}
