package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// read parses a page as Prometheus does.
func read(t *testing.T, body []byte) (values map[string]float64, order []string, types map[string]string) {
	t.Helper()
	p, err := textparse.New(body, "text/plain; charset=UTF-8", labels.NewSymbolTable(),
		textparse.ParserOptions{FallbackContentType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	values, types = map[string]float64{}, map[string]string{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return values, order, types
		}
		if err != nil {
			t.Fatal(err)
		}
		switch entry {
		case textparse.EntryType:
			name, typ := p.Type()
			types[string(name)] = string(typ)
		case textparse.EntrySeries:
			var l labels.Labels
			p.Labels(&l)
			_, _, v := p.Series()
			key := l.String()
			if _, twice := values[key]; twice {
				t.Fatalf("series twice on one page: %s", key)
			}
			values[key] = v
			order = append(order, key)
		}
	}
}

func TestPageHasExactlyTheSeriesAskedFor(t *testing.T) {
	for _, series := range []int{1, 7, 100, 500, 2000} {
		p := newPage(newTemplate(0, series, Page{}), 1, Page{})
		values, _, _ := read(t, p.buf)
		if len(values) != series {
			t.Errorf("series on the page = %d, want %d", len(values), series)
		}
		istio := 0
		for s := range values {
			if strings.Contains(s, `__name__="istio_`) {
				istio++
			}
		}
		if istio != series/2 {
			t.Errorf("istio_* series = %d, want %d", istio, series/2)
		}
	}
}

func TestPageIsAsLargeAsRealOnes(t *testing.T) {
	for _, series := range []int{500, 2000, 20_000} {
		for _, workload := range []int{0, 19, 199} {
			c := Config{Series: series}
			p := newPage(newTemplate(c.firstService(workload), series, Page{}), 1, Page{})
			if mean := float64(len(p.buf)) / float64(series); math.Abs(mean-512) > 20 {
				t.Errorf("%d series, workload %d: %.0f bytes a sample, want 512 (20 more or less)", series, workload,
					mean)
			}
		}
	}
}

func TestPageMovesAsAsked(t *testing.T) {
	const series, scrapes = 2000, 10
	p := newPage(newTemplate(0, series, Page{}), 1, Page{})
	before, order, types := read(t, p.buf)
	changed := 0
	for range scrapes {
		p.advance(0.2, 0)
		now, newOrder, _ := read(t, p.buf)
		if fmt.Sprint(order) != fmt.Sprint(newOrder) {
			t.Fatal("the order of the page changed")
		}
		for s, v := range now {
			if v != before[s] {
				changed++
			}
			if v < before[s] && isCounter(s, types) {
				t.Fatalf("counter fell from %v to %v: %s", before[s], v, s)
			}
		}
		checkHistograms(t, p.buf)
		before = now
	}
	if share := float64(changed) / scrapes / series; math.Abs(share-0.2) > 0.01 {
		t.Errorf("moving share = %.3f, want 0.2", share)
	}
	if uint64(changed) != p.moved {
		t.Errorf("counted %d changes, the page says %d", changed, p.moved)
	}
}

func isCounter(s string, types map[string]string) bool {
	_, rest, _ := strings.Cut(s, `__name__="`)
	name, _, _ := strings.Cut(rest, `"`)
	return types[name] != "gauge"
}

// checkHistograms asserts cumulative buckets that end at the count, for all
// histograms: their 22 lines stand together.
func checkHistograms(t *testing.T, page []byte) {
	t.Helper()
	var last, inf string
	checked := 0
	for line := range strings.Lines(string(page)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		switch {
		case strings.Contains(series, `le="0.5"`):
			last = value
		case strings.Contains(series, `le="`):
			if len(value) < len(last) || len(value) == len(last) && value < last {
				t.Fatalf("bucket %s is less than the one before, %s: %s", value, last, series)
			}
			last, inf = value, value
		case strings.Contains(series, "_sum{"):
			checked++
		case strings.Contains(series, "_count{") && inf != "":
			if value != inf {
				t.Fatalf("+Inf is %s, the count %s: %s", inf, value, series)
			}
			inf = "" // the next count that follows buckets is another histogram's
		}
	}
	if checked == 0 {
		t.Fatal("no histogram on the page")
	}
}

func TestChurnReplacesTheShareAsked(t *testing.T) {
	const series, scrapes = 1000, 20
	p := newPage(newTemplate(0, series, Page{}), 1, Page{})
	before, _, _ := read(t, p.buf)
	fresh := 0
	for range scrapes {
		p.advance(0.2, 0.05)
		now, _, _ := read(t, p.buf)
		if len(now) != series {
			t.Fatalf("series = %d, want %d", len(now), series)
		}
		for s := range now {
			if _, known := before[s]; !known {
				fresh++
			}
		}
		before = now
	}
	if share := float64(fresh) / scrapes / series; math.Abs(share-0.05) > 0.01 {
		t.Errorf("replaced share = %.4f, want 0.05", share)
	}
}

func TestWorkloadsShareNoTaggedSeries(t *testing.T) {
	c := Config{Series: 2000}
	a, _, _ := read(t, newPage(newTemplate(c.firstService(0), 2000, Page{}), 1, Page{}).buf)
	b, _, _ := read(t, newPage(newTemplate(c.firstService(1), 2000, Page{}), 1, Page{}).buf)
	for s := range a {
		if _, shared := b[s]; shared && strings.Contains(s, ", ") {
			if !strings.Contains(s, "istio_build") {
				t.Fatalf("two workloads share %s", s)
			}
		}
	}
}

func TestAddressesAreDistinctLoopback(t *testing.T) {
	c := DefaultConfig()
	c.Targets = 2000
	seen := map[netip.AddrPort]bool{}
	for _, tg := range c.TargetList() {
		if !tg.Address.Addr().IsLoopback() || seen[tg.Address] {
			t.Fatalf("address %v is not loopback or not new", tg.Address)
		}
		seen[tg.Address] = true
	}
}

func TestFleetServesAndCounts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := l.Addr().(*net.TCPAddr).AddrPort()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := Config{Targets: 1, Series: 300, Replicas: 1, Moving: 0.2, Base: base, OneAddress: true}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	var last []byte
	for range 3 {
		last = get(t, "http://"+base.String()+Path)
	}
	if values, _, _ := read(t, last); len(values) != 300 {
		t.Errorf("series = %d, want 300", len(values))
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := f.Stats(true); s.Scrapes != 3 || s.Samples != 900 || s.Aborted != 0 || s.PerTarget[0] != 3 {
		t.Errorf("stats = %+v, want 3 scrapes, 900 samples", s)
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	if !bytes.HasPrefix(body, []byte("# TYPE ")) || resp.ContentLength >= 0 {
		t.Error("want a chunked page that begins with a TYPE line")
	}
	return body
}

func BenchmarkAdvance(b *testing.B) {
	p := newPage(newTemplate(0, 2000, Page{}), 1, Page{})
	b.SetBytes(int64(len(p.buf)))
	for b.Loop() {
		p.advance(0.2, 0)
	}
	b.ReportMetric(float64(p.renders)/float64(b.N), "renders/op")
}

// flushed calls a function when the last byte of a response has been written.
type flushed struct {
	*httptest.ResponseRecorder
	then func()
}

func (f flushed) Flush() { f.then() }

// TestACompletePageCounts: a client may have a page before the scrape ends here. Who asks then waits for the end.
func TestACompletePageCounts(t *testing.T) {
	f, err := New(Config{Targets: 1, Series: 100, Replicas: 1, Base: netip.MustParseAddrPort("127.99.0.1:15090")})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan Stats)
	f.answer(flushed{httptest.NewRecorder(), func() {
		go func() { asked <- f.Stats(false) }()
		for range 1000 {
			runtime.Gosched() // it asks meanwhile
		}
	}}, httptest.NewRequest(http.MethodGet, Path, nil), f.targets[0], nil)
	if s := <-asked; s.Scrapes != 1 || s.Samples != 100 {
		t.Errorf("%d scrapes with %d samples, want 1 with 100", s.Scrapes, s.Samples)
	}
}

func TestRestartedSidecarCountsFromZero(t *testing.T) {
	const uptime = `{__name__="envoy_server_uptime"}`
	now := time.Now()
	p := newPage(newTemplate(0, 2000, Page{}), 1, Page{})
	before, _, _ := read(t, p.body(now))
	later, _, _ := read(t, p.body(now.Add(time.Hour)))
	if before[uptime] < 3600 || later[uptime] != before[uptime]+3600 {
		t.Errorf("uptime %v, and %v an hour later", before[uptime], later[uptime])
	}
	p.restart()
	p.body(now.Add(2 * time.Hour)) // the first page of the new process
	p.advance(0.2, 0)
	after, _, types := read(t, p.body(now.Add(2*time.Hour+7*time.Second)))
	if after[uptime] != 7 || len(after) != len(before) {
		t.Errorf("uptime %v, %d series; want 7, %d", after[uptime], len(after), len(before))
	}
	moved := 0
	for series, v := range after {
		name, _, _ := strings.Cut(strings.TrimPrefix(series, `{__name__="`), `"`)
		if types[name] == "gauge" || strings.HasSuffix(name, "_sum") {
			continue
		}
		if v > 1000 {
			t.Errorf("%s is %v after a restart", series, v)
		}
		if v > 0 {
			moved++
		}
	}
	if moved < 100 {
		t.Errorf("%d counters and buckets moved, want at least 100", moved)
	}
}
