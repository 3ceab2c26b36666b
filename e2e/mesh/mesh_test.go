package mesh

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// samples parses a page with Prometheus' parser. It fails the test on an error or a duplicate series.
func samples(t *testing.T, page []byte) map[string]float64 {
	t.Helper()
	p, err := textparse.New(page, "text/plain; charset=UTF-8", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch entry {
		case textparse.EntryType:
		case textparse.EntrySeries:
			series, ts, v := p.Series()
			if ts != nil {
				t.Errorf("%s has a timestamp", series)
			}
			if _, twice := all[string(series)]; twice {
				t.Errorf("the page has %s twice", series)
			}
			all[string(series)] = v
		default:
			t.Errorf("the page has an entry of kind %v", entry)
		}
	}
}

func TestPagesLookLikeEnvoys(t *testing.T) {
	m := New(DefaultConfig())
	for i, s := range m.Sidecars() {
		page := m.AppendPage(nil, i)
		all := samples(t, page)
		if len(all) < 200 {
			t.Errorf("%s: %d series, want as many as on a sidecar's page", s.Pod, len(all))
		}
		for line := range strings.Lines(string(page)) {
			name, rest, found := strings.Cut(line, "{")
			if strings.HasPrefix(line, "# TYPE ") {
				continue
			}
			if !found || strings.Contains(name, " ") || !strings.Contains(rest, "} ") {
				t.Errorf("%s: line %q", s.Pod, line)
			}
		}
		if !bytes.Contains(page, []byte("envoy_server_live{} 1\n")) {
			t.Errorf("%s: no braces on an unlabelled series", s.Pod)
		}
	}
}

func TestHistogramsAddUp(t *testing.T) {
	m := New(DefaultConfig())
	for i, s := range m.Sidecars() {
		all := samples(t, m.AppendPage(nil, i))
		buckets := map[string][]float64{}
		for series, v := range all {
			name, rest, _ := strings.Cut(series, "_bucket{")
			if at := strings.LastIndex(rest, `le="`); at >= 0 {
				key := name + "_count{" + strings.TrimSuffix(rest[:at], ",") + "}"
				buckets[key] = append(buckets[key], v)
			}
		}
		if len(buckets) == 0 {
			t.Errorf("%s: no histogram", s.Pod)
		}
		for count, values := range buckets {
			if len(values) != 20 || slices.Max(values) != all[count] {
				t.Errorf("%s: %s: %d buckets up to %v, want 20 up to %v", s.Pod, count, len(values), slices.Max(values),
					all[count])
			}
		}
	}
}

func TestSumsHaveEnvoysDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.5: "0.5", 1750: "1750", 3600000: "3600000", 309.9: "309.89999999999997726263245567679",
	} {
		if got := string(appendFloat(nil, v)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestReportersAgree checks that the destination reports everything that the source reports, by HTTP and by TCP. What
// has a side without a sidecar has one reporter.
func TestReportersAgree(t *testing.T) {
	for name, atLeast := range map[string]int{
		"istio_requests_total": 8, "istio_tcp_sent_bytes_total": 1, "istio_tcp_received_bytes_total": 1,
		"istio_tcp_connections_opened_total": 1, "istio_tcp_connections_closed_total": 1,
	} {
		t.Run(name, func(t *testing.T) {
			m := New(DefaultConfig())
			m.Advance(time.Minute)
			type hop struct{ source, destination, code string }
			reported := map[string]map[hop]float64{"source": {}, "destination": {}}
			for i := range m.Sidecars() {
				for series, v := range samples(t, m.AppendPage(nil, i)) {
					rest, ok := strings.CutPrefix(series, name+"{")
					h := hop{value(rest, "source_workload"), value(rest, "destination_workload"),
						value(rest, "response_code")}
					if ok && h.source != "unknown" && h.destination != "unknown" {
						reported[value(rest, "reporter")][h] += v
					}
				}
			}
			if len(reported["source"]) < atLeast {
				t.Errorf("%d hops with traffic, want at least %d", len(reported["source"]), atLeast)
			}
			if !maps.Equal(reported["source"], reported["destination"]) {
				t.Errorf("the sources report %v, the destinations %v", reported["source"], reported["destination"])
			}
		})
	}
}

// TestSidesWithoutASidecar checks what Istio reports of plaintext from a client without a sidecar, and of a service
// outside the mesh.
func TestSidesWithoutASidecar(t *testing.T) {
	m := New(DefaultConfig())
	found := map[string]int{}
	for i := range m.Sidecars() {
		for series := range samples(t, m.AppendPage(nil, i)) {
			name, rest, _ := strings.Cut(series, "{")
			switch security := value(rest, "connection_security_policy"); {
			case value(rest, "source_workload") == "unknown":
				found[name]++
				if value(rest, "reporter") != "destination" || security != "none" ||
					value(rest, "source_principal") != "unknown" ||
					value(rest, "source_canonical_revision") != "latest" {
					t.Errorf("a client without a sidecar: %s", series)
				}
			case value(rest, "destination_workload") == "unknown":
				found["outside"]++
				if value(rest, "reporter") != "source" || security != "unknown" ||
					strings.HasPrefix(value(rest, "destination_principal"), "spiffe") {
					t.Errorf("a service outside: %s", series)
				}
			case strings.HasPrefix(name, "istio_") && value(rest, "reporter") == "destination":
				if security != "mutual_tls" {
					t.Errorf("between sidecars: %s", series)
				}
			}
		}
	}
	for _, want := range []string{"istio_requests_total", "istio_tcp_sent_bytes_total", "outside"} {
		if found[want] == 0 {
			t.Errorf("no series for %s", want)
		}
	}
}

func value(series, label string) string {
	_, rest, _ := strings.Cut(","+series, ","+label+`="`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

func TestCountersMoveAndNeverFall(t *testing.T) {
	m := New(DefaultConfig())
	for i, s := range m.Sidecars() {
		before := m.AppendPage(nil, i)
		m.Advance(10 * time.Second)
		after := m.AppendPage(nil, i)
		was, is := samples(t, before), samples(t, after)
		gauges := map[string]bool{}
		for line := range strings.Lines(string(after)) {
			if name, ok := strings.CutSuffix(line, " gauge\n"); ok {
				gauges[strings.TrimPrefix(name, "# TYPE ")] = true
			}
		}
		moved := 0
		for series, v := range was {
			now, there := is[series]
			name, _, _ := strings.Cut(series, "{")
			if !there || (now < v && !gauges[name]) {
				t.Errorf("%s: %s: %v after %v", s.Pod, series, now, v)
			}
			if now > v {
				moved++
			}
		}
		want := 50
		if s.Service == "mongodb" { // no HTTP, so no histograms
			want = 8
		}
		if moved < want {
			t.Errorf("%s: %d values moved, want at least %d", s.Pod, moved, want)
		}
	}
}

func TestSameSeedSamePages(t *testing.T) {
	a, b := New(DefaultConfig()), New(DefaultConfig())
	a.Advance(time.Minute)
	b.Advance(time.Minute)
	for i, s := range a.Sidecars() {
		if !bytes.Equal(a.AppendPage(nil, i), b.AppendPage(nil, i)) {
			t.Errorf("%s: the pages differ", s.Pod)
		}
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	if got, want := printLabels("a", "x\\y\n\"z\""), `a="x\\y\n\"z\""`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestServesLikeEnvoy(t *testing.T) {
	m := New(DefaultConfig())
	server := httptest.NewServer(m.Handler(0))
	defer server.Close()

	response, err := server.Client().Get(server.URL + "/stats/prometheus") // the client requests gzip and decompresses
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(body, m.AppendPage(nil, 0)) {
		t.Error("the body is not the page")
	}
	if !response.Uncompressed || !slices.Equal(response.TransferEncoding, []string{"chunked"}) {
		t.Errorf("gzip %v, transfer encoding %v, want gzip and chunked", response.Uncompressed,
			response.TransferEncoding)
	}
	if got, want := response.Header.Get("Content-Type"), "text/plain; charset=UTF-8"; got != want {
		t.Errorf("content type %q, want %q", got, want)
	}
}

func TestEachSidecarHasItsOwnPage(t *testing.T) {
	for _, one := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.OneAddress = one
		m := New(cfg)
		if err := m.Listen(); err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if one && !m.Shared() {
			t.Error("got several addresses, want one")
		}
		seen := map[string]bool{}
		for _, s := range m.Sidecars() {
			if seen[s.Addr.String()] {
				t.Errorf("%s has the address %s of another sidecar", s.Pod, s.Addr)
			}
			seen[s.Addr.String()] = true
			if !m.Shared() && s.Addr.Port() != StatsPort {
				t.Errorf("%s has the address %s, want port %d", s.Pod, s.Addr, StatsPort)
			}
			if m.Shared() && s.Annotations["prometheus.io/port"] != "" {
				t.Errorf("%s has an annotation with another port than its page", s.Pod)
			}
		}
	}
}
