package web

import (
	"embed"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/util/httputil"
	"go.uber.org/zap"
)

//go:embed static
var static embed.FS

// contentSecurityPolicy allows a page to load its style sheet, its script and its icon, to load itself again, and to
// send its search form, all from this server, and nothing else. In particular it forbids scripts and styles inside a
// page, where a label of a target might get to.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; " +
	"img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// handler serves all paths. The mux answers 405 if a path exists, but not for the method.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	page := func(path string, h http.HandlerFunc) {
		mux.Handle("GET "+path, httputil.CompressionHandler{Handler: h})
	}
	page("/{$}", withTheme(s.overview))
	page("/pods", withTheme(s.podsPage))
	page("/targets", withTheme(s.targets))
	page("/service-discovery", withTheme(s.serviceDiscovery))
	page("/aggregates", withTheme(s.aggregates))
	page("/cost", withTheme(s.cost))
	page("/config", withTheme(s.config))
	page("/static/", s.asset)

	page("/api/v1/pods", s.apiPods)
	page("/api/v1/targets", s.apiTargets)
	page("/api/v1/targets/relabel_steps", s.apiRelabelSteps)
	page("/api/v1/scrape_pools", s.apiScrapePools)
	page("/api/v1/status/config", s.apiConfig)
	page("/api/v1/status/buildinfo", s.apiBuild)
	page("/api/v1/status/flags", s.apiFlags)
	page("/api/v1/status/remote_write", s.apiRemoteWrite)
	page("/api/v1/aggregates", s.apiAggregates)
	page("/api/v1/cost", s.apiCost)
	mux.HandleFunc("POST /api/v1/cost", s.apiCost) // changes nothing: what dashboards use may be longer than a URL

	mux.HandleFunc("GET /-/healthy", s.healthy)
	mux.HandleFunc("GET /-/ready", s.ready)
	mux.HandleFunc("POST /-/reload", s.reload)
	mux.HandleFunc("PUT /-/reload", s.reload)
	if s.cfg.EnablePprof {
		profiles(mux)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.src.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))

	// Other web sites must not be able to reload through a user's browser.
	return s.guard(http.NewCrossOriginProtection().Handler(mux))
}

// profiles adds the paths of the Go runtime's profiles.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// guard sets the headers of every response, and limits a panic to its request.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if cause := recover(); cause != nil && cause != http.ErrAbortHandler {
				s.log.Error("a page panicked", zap.String("path", r.URL.Path), zap.Any("cause", cause),
					zap.ByteString("stack", debug.Stack()))
				panic(http.ErrAbortHandler) // the response may be written in part: close the connection
			} else if cause != nil {
				panic(cause)
			}
		}()
		h := w.Header()
		setDefault(h, "Content-Security-Policy", contentSecurityPolicy)
		setDefault(h, "X-Content-Type-Options", "nosniff")
		setDefault(h, "X-Frame-Options", "DENY")
		setDefault(h, "Referrer-Policy", "no-referrer") // targets must not see the URL of this page
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// setDefault sets a header unless the web configuration file has set it.
func setDefault(h http.Header, key, value string) {
	if h.Get(key) == "" {
		h.Set(key, value)
	}
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/") { // no list of files
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "max-age=300")
	http.FileServerFS(static).ServeHTTP(w, r)
}
