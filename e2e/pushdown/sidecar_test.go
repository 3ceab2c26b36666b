package pushdown

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// stat is a stat of a sidecar that is a small server: its raw name, and its line on the page without the value.
type stat struct{ raw, family, line string }

// sidecar answers as Envoy does, except where refuse says otherwise.
type sidecar struct {
	stats []stat
	// refuse answers a request for a filtered page, if it is not nil.
	refuse http.HandlerFunc

	mu      sync.Mutex // guards the following
	asked   []string   // the filter of each request; empty: it was for the whole page
	reading int        // grows with each page
}

func (s *sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	filter := r.URL.Query().Get("filter")
	s.mu.Lock()
	s.asked = append(s.asked, filter)
	s.reading++
	reading := s.reading
	s.mu.Unlock()
	if r.URL.Path != statsPath {
		http.NotFound(w, r)
		return
	}
	if filter != "" && s.refuse != nil {
		s.refuse(w, r)
		return
	}
	re, err := regexp.Compile(filter)
	if err != nil {
		http.Error(w, "Invalid re2 regex", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, _ = io.WriteString(w, s.page(re, reading))
}

// page has the stats whose raw names the filter finds, as Envoy prints them.
func (s *sidecar) page(filter *regexp.Regexp, reading int) string {
	var b strings.Builder
	family := ""
	for _, st := range s.stats {
		if !filter.MatchString(st.raw) {
			continue
		}
		if st.family != family {
			family = st.family
			fmt.Fprintf(&b, "# TYPE %s counter\n", family)
		}
		fmt.Fprintf(&b, "%s %d\n", st.line, reading)
	}
	return b.String()
}

// requests returns how many requests there were for whole pages and for filtered ones.
func (s *sidecar) requests() (whole, filtered int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, filter := range s.asked {
		if filter == "" {
			whole++
		} else {
			filtered++
		}
	}
	return whole, filtered
}

// serve starts the sidecar on a free port, and returns its address.
func (s *sidecar) serve(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// serveAt starts the sidecar at a port, and returns the address.
func (s *sidecar) serveAt(t *testing.T, at *oracle.AddressRange, port int) string {
	t.Helper()
	l, err := at.Listen(2, port)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Addr().(*net.TCPAddr).Port; got != port {
		l.Close()
		t.Skipf("SKIPPED: port %d of an address of its own is needed, and this machine has only 127.0.0.1", port)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: s}} //nolint:gosec // a test's
	server.Start()
	t.Cleanup(server.Close)
	return l.Addr().String()
}

// someStats returns the stats of a few clusters.
func someStats() (all []stat) {
	for _, name := range []string{"membership_healthy", "upstream_cx_total", "upstream_rq_total"} {
		for n := range 10 {
			cluster := fmt.Sprintf("outbound|80||reviews-%d.shop.svc.cluster.local", n)
			family := "envoy_cluster_" + name
			all = append(all, stat{"cluster." + cluster + "." + name, family,
				fmt.Sprintf("%s{cluster_name=%q}", family, cluster)})
		}
	}
	return all
}

// istioStats returns stats of Istio's metrics as its proxy makes them: the raw name has all labels in it. The label
// team is one that the mesh's owner has added with Istio's Telemetry.
func istioStats() (all []stat) {
	pairs := func(values ...string) []string {
		return slices.Concat([]string{"reporter", "destination", "source_workload"}, values)
	}
	for _, family := range []string{"istio_build", "istio_request_bytes_count", "istio_requests_total",
		"istio_response_bytes_sum", "istio_tcp_sent_bytes_total"} {
		for n := range 8 {
			labels := pairs("reviews-v1", "destination_service", fmt.Sprintf("details-%d.shop.svc.cluster.local", n),
				"response_code", "200", "team", "envoy_cluster_upstream")
			var printed []string
			for i := 0; i < len(labels); i += 2 {
				printed = append(printed, fmt.Sprintf("%s=%q", labels[i], labels[i+1]))
			}
			raw := strings.TrimSuffix(strings.TrimSuffix(family, "_count"), "_sum")
			all = append(all, stat{"istiocustom." + raw + "." + strings.Join(labels, "."), family,
				family + "{" + strings.Join(printed, ",") + "}"})
		}
	}
	return append(all, someStats()...)
}
