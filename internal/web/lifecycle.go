package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// healthy answers as long as the process can answer at all.
func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "envoy-scraper is healthy.")
}

// ready answers 503 until there is something to scrape from: what Kubernetes asks before it goes on with a rollout.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if ok, why := s.src.Ready(); !ok {
		http.Error(w, "envoy-scraper is not ready: "+why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "envoy-scraper is ready.")
}

// reload reads the configuration again, and says why where it was refused: the old one then goes on.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if !s.cfg.EnableLifecycle {
		http.Error(w, "reload over HTTP is off. Start with --web.enable-lifecycle to allow it, or send the process SIGHUP.", http.StatusForbidden)
		return
	}
	// A client that hangs up must not leave half a reload behind.
	if err := s.src.Reload(context.WithoutCancel(r.Context())); err != nil {
		http.Error(w, "reload refused, the configuration before goes on: "+maskURLs(strings.TrimSpace(err.Error())), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "reloaded")
}
