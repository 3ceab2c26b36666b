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
	maxTaken  = 64 // unavailable addresses, after which all sidecars share one
)

// Listen opens port 15090 on a separate loopback address for each sidecar, from 127.0.0.2 up. If those addresses are
// missing (macOS) or in use, all sidecars share 127.0.0.1 and have different ports.
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
		if p.sidecar.Addr.Port() != StatsPort { // annotated pods need an annotation with their real port
			delete(p.sidecar.Annotations, "prometheus.io/port")
		}
	}
	return nil
}

// Shared reports, after Listen, whether the sidecars share one address and differ in port.
func (m *Mesh) Shared() bool {
	sidecars := m.Sidecars()
	return sidecars[0].Addr.Addr() == sidecars[1].Addr.Addr()
}

// listenApart listens on n different addresses. It skips addresses whose port is in use, by a second demo for example.
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

// Close closes the listeners. Run does it too.
func (m *Mesh) Close() { closeAll(m.listeners) }

// serve starts one server per sidecar. A server that fails sends its error to errs.
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

// Handler serves the i-th sidecar's page as Istio's stats listener does: chunked, with gzip if requested, and always as
// text.
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

// writePage writes the page. It ignores errors: the scraper closed the connection.
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
		_ = flush.Flush() // without Flush a small page would get a Content-Length
	}
}
