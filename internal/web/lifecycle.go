package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// healthy always answers 200.
func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "envoy-scraper is healthy.")
}

// ready answers 503 until every discovery has answered once. Kubernetes asks for it before it continues a rollout.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if ok, why := s.src.Ready(); !ok {
		http.Error(w, "envoy-scraper is not ready: "+why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "envoy-scraper is ready.")
}

// reload reads the configuration again. If it is refused, the response says why, and the previous one stays in force.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if !s.cfg.EnableLifecycle {
		http.Error(w, "reload over HTTP is off. Start with --web.enable-lifecycle to allow it, or send the process "+
			"SIGHUP.", http.StatusForbidden)
		return
	}
	// A client that disconnects must not interrupt a reload.
	if err := s.src.Reload(context.WithoutCancel(r.Context())); err != nil {
		http.Error(w, "reload refused, the previous configuration stays in force: "+
			""+maskURLs(strings.TrimSpace(err.Error())), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "reloaded")
}
