package scrape

import (
	"errors"
	"fmt"
	"net/http"

	config_util "github.com/prometheus/common/config"
)

// maxRedirects is net/http's own bound.
const maxRedirects = 10

// redirects returns what a job's client asks before it follows a redirect. next is what it asked so far; nil: nothing.
func (f *fetcher) redirects(next func(*http.Request, []*http.Request) error, sameHost bool) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if next != nil {
			if err := next(req, via); err != nil {
				return err
			}
		}
		if sameHost && req.URL.Hostname() != via[0].URL.Hostname() {
			return fmt.Errorf("redirect to another host, %s, refused: this job scrapes a pod's own addresses only", req.URL.Host)
		}
		if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme == "http" {
			return errors.New("redirect from https to http refused: credentials and pages would go in the clear")
		}
		if len(via) >= maxRedirects {
			return errors.New("stopped after 10 redirects")
		}
		if t, ok := req.Context().Value(asking{}).(*target); ok {
			return f.guard.check(req.URL, t)
		}
		return nil
	}
}

// ownHeaders adds a job's http_headers to requests, but not where a redirect has led to another host: prometheus/common
// keeps its own credentials back there, but these it does not.
type ownHeaders struct{ with, without http.RoundTripper }

func withHeaders(headers *config_util.Headers, next http.RoundTripper) http.RoundTripper {
	if headers == nil {
		return next
	}
	return &ownHeaders{with: config_util.NewHeadersRoundTripper(headers, next), without: next}
}

// RoundTrip implements http.RoundTripper.
func (h *ownHeaders) RoundTrip(req *http.Request) (*http.Response, error) {
	if hasCrossedHosts(req) {
		return h.without.RoundTrip(req)
	}
	return h.with.RoundTrip(req)
}

// CloseIdleConnections passes on what http.Client asks for.
func (h *ownHeaders) CloseIdleConnections() {
	if c, ok := h.without.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// hasCrossedHosts tells that any of the redirects that led to a request left the host asked first, even if a later one
// came back.
func hasCrossedHosts(req *http.Request) bool {
	hosts := map[string]bool{req.URL.Hostname(): true}
	for r := req; r.Response != nil && r.Response.Request != nil; {
		r = r.Response.Request
		hosts[r.URL.Hostname()] = true
	}
	return len(hosts) > 1
}
