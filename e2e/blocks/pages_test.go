package blocks

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// sidecar serves a page whose counters grow at each scrape. Each scraping program has its own counters, so one
// program's scrapes do not change what the other sees.
type sidecar struct {
	mu      sync.Mutex
	random  *rand.Rand
	readers map[string][]int // by User-Agent
}

func (s *sidecar) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _, _ := strings.Cut(req.UserAgent(), "/")
	values := s.readers[name]
	if values == nil {
		values = make([]int, series)
		for i := range values {
			values[i] = 1000 + i
		}
		s.readers[name] = values
	}
	page := make([]byte, 0, 64*series)
	page = append(page, "# TYPE requests_total counter\n"...)
	for i := range values {
		if i%2 == 0 {
			values[i] += 1 + s.random.IntN(20)
		}
		page = append(page, `requests_total{service="service-`...)
		page = strconv.AppendInt(page, int64(i), 10)
		page = append(page, `"} `...)
		page = strconv.AppendInt(page, int64(values[i]), 10)
		page = append(page, '\n')
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write(page)
}

// servePages starts the targets and returns their addresses.
func servePages(t *testing.T) (addresses []string) {
	t.Helper()
	for i := range targets {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: &sidecar{random: rand.New(rand.NewPCG(uint64(i), 0)),
			readers: map[string][]int{}}}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		addresses = append(addresses, fmt.Sprint(listener.Addr()))
	}
	return addresses
}
