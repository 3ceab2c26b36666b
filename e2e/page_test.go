package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// basesApart is the distance between the bases of two pages, so that the value of a sample identifies its page.
const basesApart = 1_000_000

// A page is the stats page of one sidecar. On the n-th scrape by a scraper, its counter is the page's base plus n, and
// its histogram has n observations. So each stored sample identifies its scrape, and a lost scrape leaves a gap.
// Scrapers are distinguished by the timeout in their requests.
type page struct {
	addr     string
	workload string
	base     int

	mu     sync.Mutex // guards the fields below
	server *http.Server
	count  map[string]int       // number of scrapes, by scraper
	first  map[string]time.Time // time of the first scrape, by scraper
}

// open starts the page's server.
func (p *page) open(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	go func() { _ = server.Serve(l) }()
	t.Cleanup(p.close)
}

// close stops the page's server, as the end of a pod does: connections are cut and new ones refused.
func (p *page) close() {
	p.mu.Lock()
	server := p.server
	p.server = nil
	p.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/stats/prometheus" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, _ = w.Write([]byte(p.text(p.countScrape(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds")))))
}

// countScrape counts one more scrape by a scraper and returns the number of scrapes so far.
func (p *page) countScrape(scraper string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == nil {
		p.count, p.first = map[string]int{}, map[string]time.Time{}
	}
	if p.count[scraper] == 0 {
		p.first[scraper] = time.Now()
	}
	p.count[scraper]++
	return p.count[scraper]
}

// scrapes returns how often a scraper has scraped the page, and the time of the first scrape.
func (p *page) scrapes(scraper string) (n int, first time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[scraper], p.first[scraper]
}

// text returns the page for the n-th scrape, in Envoy's form: no HELP, braces on every sample, and a sum with more
// digits than a float64 has.
func (p *page) text(n int) string {
	request := fmt.Sprintf(`reporter="destination",source_workload="productpage-v1",`+
		`source_workload_namespace="bookinfo",`+
		`destination_workload=%q,`+
		`destination_workload_namespace="bookinfo",destination_service="%s.bookinfo.svc.cluster.local",`+
		`request_protocol="http",response_code="200",response_flags="-",connection_security_policy="mutual_tls"`,
		p.workload, p.workload)
	var b strings.Builder
	fmt.Fprintf(&b, "# TYPE istio_requests_total counter\nistio_requests_total{%s} %d\n", request, p.base+n)
	fmt.Fprintf(&b, "# TYPE envoy_server_uptime gauge\nenvoy_server_uptime{} %d\n", n)
	fmt.Fprintf(&b, "# TYPE istio_request_duration_milliseconds histogram\n")
	for _, le := range []string{"0.5", "1", "5", "10", "+Inf"} {
		fmt.Fprintf(&b, "istio_request_duration_milliseconds_bucket{%s,le=%q} %d\n", request, le, n)
	}
	fmt.Fprintf(&b, "istio_request_duration_milliseconds_sum{%s} %d.1000000000000000055511151231257827\n", request, n)
	fmt.Fprintf(&b, "istio_request_duration_milliseconds_count{%s} %d\n", request, n)
	return b.String()
}
