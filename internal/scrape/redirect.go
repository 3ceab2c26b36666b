package scrape

import (
	"errors"
	"fmt"
	"net/http"

	config_util "github.com/prometheus/common/config"
)

// maxRedirects is the limit of net/http.
const maxRedirects = 10

// redirectPolicy is http.Client.CheckRedirect: an error means that the redirect is not followed.
type redirectPolicy = func(req *http.Request, via []*http.Request) error

// redirects returns the redirect policy of a job. first is asked before the rules here; nil: none. With sameHost,
// redirects to another host are refused.
func (f *fetcher) redirects(first redirectPolicy, sameHost bool) redirectPolicy {
	return func(req *http.Request, via []*http.Request) error {
		if first != nil {
			if err := first(req, via); err != nil {
				return err
			}
		}
		if sameHost && req.URL.Hostname() != via[0].URL.Hostname() {
			return fmt.Errorf("redirect to another host, %s, refused: this job scrapes a pod's own address only",
				req.URL.Host)
		}
		if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme == "http" {
			return errors.New("redirect from https to http refused: credentials and pages would be sent unencrypted")
		}
		if len(via) >= maxRedirects {
			return errors.New("stopped after 10 redirects")
		}
		if t, ok := req.Context().Value(targetKey{}).(*target); ok {
			return f.guard.check(req.URL, t)
		}
		return nil
	}
}

// jobHeaders adds a job's http_headers to requests. After a redirect to another host it adds none, so that the other
// host gets no credentials. prometheus/common holds back only the credentials of its own options.
type jobHeaders struct{ with, without http.RoundTripper }

func withJobHeaders(headers *config_util.Headers, next http.RoundTripper) http.RoundTripper {
	if headers == nil {
		return next
	}
	return &jobHeaders{with: config_util.NewHeadersRoundTripper(headers, next), without: next}
}

// RoundTrip implements http.RoundTripper.
func (h *jobHeaders) RoundTrip(req *http.Request) (*http.Response, error) {
	if hasLeftHost(req) {
		return h.without.RoundTrip(req)
	}
	return h.with.RoundTrip(req)
}

// CloseIdleConnections implements the method that http.Client looks for.
func (h *jobHeaders) CloseIdleConnections() {
	if c, ok := h.without.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// hasLeftHost reports whether any redirect before this request led to another host, even if a later redirect led back.
func hasLeftHost(req *http.Request) bool {
	hosts := map[string]bool{req.URL.Hostname(): true}
	for r := req; r.Response != nil && r.Response.Request != nil; {
		r = r.Response.Request
		hosts[r.URL.Hostname()] = true
	}
	return len(hosts) > 1
}
