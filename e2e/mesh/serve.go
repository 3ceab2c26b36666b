package mesh

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	pagePath  = "/stats/prometheus"
	chunkSize = 16 << 10
	maxTaken  = 64 // addresses that may be missing or taken before the sidecars share one
)

// Listen gives each sidecar a loopback address of its own, 127.0.0.2 and up, port 15090. Where those are missing
// (macOS) or taken, all share 127.0.0.1 and each has a port of its own.
func (m *Mesh) Listen() error {
	n := len(m.proxies)
	var err error
	if !m.cfg.OneAddress {
		m.listeners, err = listenApart(n)
	}
	if m.listeners == nil {
		var last error
		if m.listeners, last = listenTogether(n); last != nil {
			return fmt.Errorf("listen for the sidecars: %w", errors.Join(err, last))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, p := range m.proxies {
		p.sidecar.Addr = netip.MustParseAddrPort(m.listeners[i].Addr().String())
		if p.sidecar.Addr.Port() != StatsPort { // where the reference job sends annotated pods
			delete(p.sidecar.Annotations, "prometheus.io/port")
		}
	}
	return nil
}

// Shared says that the sidecars share one address and differ in port. True only after Listen.
func (m *Mesh) Shared() bool {
	sidecars := m.Sidecars()
	return sidecars[0].Addr.Addr() == sidecars[1].Addr.Addr()
}

// listenApart skips addresses whose port somebody else holds, such as a second demo.
func listenApart(n int) ([]net.Listener, error) {
	var listeners []net.Listener
	var errs []error
	for ip := netip.MustParseAddr("127.0.0.2"); len(listeners) < n && len(errs) < maxTaken; ip = ip.Next() {
		l, err := net.Listen("tcp", netip.AddrPortFrom(ip, StatsPort).String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		listeners = append(listeners, l)
	}
	if len(listeners) < n {
		closeAll(listeners)
		return nil, errors.Join(errs...)
	}
	return listeners, nil
}

func listenTogether(n int) ([]net.Listener, error) {
	var listeners []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// Close gives the addresses back. Run does it too.
func (m *Mesh) Close() { closeAll(m.listeners) }

// serve starts one server for each sidecar. A server that fails says so on errs.
func (m *Mesh) serve(errs chan<- error) []*http.Server {
	var servers []*http.Server
	for i, l := range m.listeners {
		s := &http.Server{Handler: m.Handler(i), ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, s)
		go func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				errs <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		}()
	}
	return servers
}

// Handler serves the i-th sidecar's page as Envoy does behind Istio's stats listener: chunked, compressed
// where the scraper asks for gzip, text whatever the scraper would rather have.
func (m *Mesh) Handler(i int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "envoy")
		if !strings.HasPrefix(r.URL.Path, pagePath) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.Header().Set("Cache-Control", "no-cache, max-age=0")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Envoy-Upstream-Service-Time", "1")
		writePage(w, r, m.AppendPage(nil, i))
	})
}

// writePage ignores write errors: the scraper went away, and there is nobody to tell.
func writePage(w http.ResponseWriter, r *http.Request, page []byte) {
	var out io.Writer = w
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Vary", "Accept-Encoding")
		z := gzip.NewWriter(w)
		defer z.Close()
		out = z
	}
	flush := http.NewResponseController(w)
	for len(page) > 0 {
		n := min(chunkSize, len(page))
		if _, err := out.Write(page[:n]); err != nil {
			return
		}
		page = page[n:]
		_ = flush.Flush() // without it a small page would get a Content-Length
	}
}
