package web

import (
	"maps"
	"net/http"
	"slices"
	"time"
)

// overviewPage answers at a glance: does it work, and if not, where to look.
type overviewPage struct {
	frame
	Now       time.Time
	Started   time.Time
	Build     Build
	Jobs      []jobSummary
	Total     tally
	Dropped   int
	Endpoints []EndpointStatus
	Flags     []pair
}

func (s *Server) overview(w http.ResponseWriter, _ *http.Request) {
	p := overviewPage{
		frame:     s.frame("Overview", "./"),
		Now:       s.now(),
		Started:   s.src.Started,
		Build:     s.src.Build,
		Jobs:      summarize(s.pools(), selection{}),
		Endpoints: s.endpoints(),
	}
	for _, j := range p.Jobs {
		p.Total.Up += j.Tally.Up
		p.Total.Down += j.Tally.Down
		p.Total.Unknown += j.Tally.Unknown
		p.Dropped += j.Dropped
	}
	flags := s.flags()
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		p.Flags = append(p.Flags, pair{name, cut(flags[name])})
	}
	s.render(w, "overview.html", p)
}

// endpoints reads the endpoints, without credentials.
func (s *Server) endpoints() []EndpointStatus {
	out := slices.Clone(s.src.Endpoints())
	for i := range out {
		out[i].URL = maskURL(out[i].URL)
		out[i].LastErr = maskURLs(out[i].LastErr)
	}
	return out
}

// flags reads the command line, without credentials.
func (s *Server) flags() map[string]string {
	out := make(map[string]string, len(s.src.Flags))
	for name, value := range s.src.Flags {
		out[name] = maskURL(value)
	}
	return out
}

// configPage shows the configuration in force.
type configPage struct {
	frame
	YAML string
	Err  string
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	p := configPage{frame: s.frame("Configuration", "config")}
	text, err := s.src.ConfigYAML()
	if err != nil {
		p.Err = maskURLs(err.Error())
		w.WriteHeader(http.StatusInternalServerError)
	}
	p.YAML = maskURLs(text)
	s.render(w, "config.html", p)
}
