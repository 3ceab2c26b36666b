package compliance

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const (
	rows     = 50 // rows of the page
	offender = 25 // number of the row that Prometheus rejects, in the middle of the request
	scrapes  = 12
)

// TestPrometheus makes a real Prometheus reject one series in the middle of each request. All other samples of the
// request must be in its database. The rejected ones must be counted as dropped and named in the log.
func TestPrometheus(t *testing.T) {
	binary, tools := parts.Scraper(t), parts.Tools(t, "prometheus")
	for _, message := range []string{message1, message2} {
		t.Run(message+", out of order", func(t *testing.T) {
			t.Parallel()
			outOfOrder(t, newDatabase(t, tools), binary, message)
		})
		t.Run(message+", duplicate", func(t *testing.T) {
			t.Parallel()
			duplicate(t, newDatabase(t, tools), binary, message)
		})
	}
}

// database is a Prometheus that accepts remote write 1.0 and 2.0.
type database struct {
	*receiver.Receiver
	addresses *oracle.AddressRange
}

func newDatabase(t *testing.T, tools string) database {
	t.Helper()
	r := parts.Prometheus(t, receiver.Config{Bin: tools, Protocol: receiver.V1AndV2})
	return database{r, parts.Addresses(t)}
}

// outOfOrder writes one sample of a series with a timestamp a few seconds in the future. Until that time, the program's
// samples of the series are out of order.
func outOfOrder(t *testing.T, db database, binary, message string) {
	const ahead = 6 * time.Second
	var p *page
	show := numberedRows(nil)
	p = newPage(t, db.addresses, 3, func(number int) (string, string) {
		if number == 1 {
			db.push(t, offendingSeries(p.address), time.Now().Add(ahead), -1)
		}
		return show(number)
	})
	a := startAgent(t, binary, settings{protocol: message, queue: "    max_shards: 1\n"}.yaml(p.address, db.WriteURL()))
	served := readTimes(t, p, scrapes)
	rejected := finish(t, a)
	stored := db.rows(t, p.address)
	checkOthers(t, stored, served)

	after := 0
	for _, sample := range stored[offender] {
		if sample.Value > 0 { // not the sample that push wrote
			after++
		}
	}
	late := served - after
	if late == 0 || after == 0 {
		t.Errorf("of the offender, %d samples were stored and %d were not; want some of each", after, late)
	}
	checkRejected(t, rejected, late)
	t.Logf("| %s, a sample out of order in each of %d requests | all %d others stored, of the offender the %d newer "+
		"ones; counted: %v |",
		message, late, served*(rows-1), after, rejected)
}

// duplicate writes one sample of a series with a timestamp that the page shows later, and with another value.
func duplicate(t *testing.T, db database, binary, message string) {
	var p *page
	own := func(number int) int64 {
		at := time.Now()
		db.push(t, offendingSeries(p.address), at, float64(-number))
		return at.UnixMilli()
	}
	p = newPage(t, db.addresses, 3, numberedRows(own))
	a := startAgent(t, binary, settings{protocol: message, queue: "    max_shards: 1\n"}.yaml(p.address, db.WriteURL()))
	served := readTimes(t, p, scrapes)
	rejected := finish(t, a)
	stored := db.rows(t, p.address)
	checkOthers(t, stored, served)
	for _, sample := range stored[offender] {
		if sample.Value > 0 {
			t.Errorf("the duplicate was stored: the offender is %v at %v", sample.Value, sample.Timestamp)
		}
	}
	checkRejected(t, rejected, served)
	t.Logf("| %s, a duplicate in each of %d requests | all %d others stored; counted: %v |", message, served,
		served*(rows-1), rejected)
}

// numberedRows returns a page on which every value is the number of the scrape. own, if not nil, returns the timestamp
// of the offender's sample.
func numberedRows(own func(number int) int64) func(int) (string, string) {
	return func(number int) (string, string) {
		var page strings.Builder
		for i := range rows {
			fmt.Fprintf(&page, "%s{series=\"%03d\"} %d", oracle.Metric, i, number)
			if i == offender && own != nil {
				fmt.Fprintf(&page, " %d", own(number))
			}
			page.WriteByte('\n')
		}
		return text, page.String()
	}
}

// readTimes waits until the page was scraped n times, closes it, and returns how often it was scraped.
func readTimes(t *testing.T, p *page, n int) (served int) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.requests() < n {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the page was scraped %d times in a minute, want %d", p.requests(), n)
		}
	}
	p.change(func(number int) (string, string) { return "", "" })
	return n
}

// finish waits until the drop counters no longer change, stops the program and returns them.
func finish(t *testing.T, a *agent.Agent) map[string]float64 {
	t.Helper()
	const dropped = "envoy_scraper_remotewrite_samples_dropped_total"
	last := map[string]float64{}
	still := 0
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for range 60 {
		<-tick.C
		m, err := a.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now := m.By(dropped, "reason")
		maps.DeleteFunc(now, func(_ string, n float64) bool { return n == 0 })
		if still++; !maps.Equal(now, last) {
			still = 0
		}
		if last = now; still >= 6 {
			break
		}
	}
	if code := a.Process.Stop(20 * time.Second); code != 0 {
		t.Errorf("exit code %d; log:\n%s", code, a.Process.Log())
	}
	if !strings.Contains(a.Process.Log(), oracle.Metric) {
		t.Errorf("the log does not name the rejected series:\n%s", a.Process.Log())
	}
	return last
}

// checkRejected checks that every rejected sample is counted as dropped.
func checkRejected(t *testing.T, counted map[string]float64, want int) {
	t.Helper()
	sum := 0.0
	for _, n := range counted {
		sum += n
	}
	// When its page closes, the offender may also get a staleness marker, which is rejected too.
	if int(sum) < want || int(sum) > want+1 {
		t.Errorf("counted as dropped: %v, want %d, or one more for a staleness marker", counted, want)
	}
}

// checkOthers checks that every row except the offender has one sample per scrape.
func checkOthers(t *testing.T, stored map[int][]model.SamplePair, served int) {
	t.Helper()
	var want []float64
	for n := 1; n <= served; n++ {
		want = append(want, float64(n))
	}
	for i := range rows {
		if i == offender {
			continue
		}
		var got []float64
		for _, sample := range stored[i] {
			got = append(got, float64(sample.Value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("row %d has the scrapes %v, want %v", i, got, want)
			return
		}
	}
}

func offendingSeries(instance string) []prompb.Label {
	return []prompb.Label{{Name: "__name__", Value: oracle.Metric}, {Name: "instance", Value: instance},
		{Name: "job", Value: "spec"},
		{Name: "series", Value: fmt.Sprintf("%03d", offender)}}
}

// push writes one sample to the database directly.
func (db database) push(t *testing.T, labels []prompb.Label, at time.Time, value float64) {
	t.Helper()
	m := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{Labels: labels,
		Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: value}}}}}
	body, err := m.Marshal()
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := http.Post(db.WriteURL(), "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, body)))
	if err != nil {
		t.Errorf("push: %v", err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Errorf("push: %s", resp.Status)
	}
}

// rows returns the stored samples of the page by row, in order of time.
func (db database) rows(t *testing.T, instance string) map[int][]model.SamplePair {
	t.Helper()
	matrix, err := db.Samples(t.Context(), fmt.Sprintf(`%s{instance=%q}[1h]`, oracle.Metric, instance))
	if err != nil {
		t.Fatal(err)
	}
	stored := map[int][]model.SamplePair{}
	for _, stream := range matrix {
		var i int
		if _, err := fmt.Sscanf(string(stream.Metric["series"]), "%d", &i); err != nil {
			t.Fatalf("row %q: %v", stream.Metric["series"], err)
		}
		for _, sample := range stream.Values {
			if !math.IsNaN(float64(sample.Value)) {
				stored[i] = append(stored[i], sample)
			}
		}
	}
	return stored
}
