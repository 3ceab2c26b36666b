package web

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// overviewPage shows whether everything works, and links to the pages that say why not.
type overviewPage struct {
	frame
	Started   time.Time
	Build     Build
	Jobs      []jobSummary
	List      listView[jobSummary] // of Jobs
	Total     tally
	Dropped   int
	Others    int // targets that other shards scrape
	Pods      podCounts
	Sparks    []spark // the last hour
	Endpoints []endpointRow
	Flags     []pair
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) {
	p := overviewPage{
		frame:     s.frame(r, "Overview", "./"),
		Started:   s.src.Started,
		Build:     s.src.Build,
		Jobs:      summarize(s.pools()),
		Sparks:    sparks(s.src.History()),
		Endpoints: s.endpoints(),
		Pods:      s.countPods(),
	}
	for _, j := range p.Jobs {
		p.Total.Up += j.Tally.Up
		p.Total.Down += j.Tally.Down
		p.Total.Unknown += j.Tally.Unknown
		p.Dropped += j.Dropped
		p.Others += j.Others
	}
	p.List, _ = jobList().show(p.Jobs, parseSelection(r))
	flags := s.flags()
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		p.Flags = append(p.Flags, pair{name, cut(flags[name])})
	}
	s.render(w, "overview.html", p)
}

// endpointRow is a remote_write endpoint with its state.
type endpointRow struct {
	remotewrite.EndpointStatus
	State string
	Class string        // of the badge, in style.css
	Lag   time.Duration // age of the oldest queued sample
}

// endpoints returns the endpoints, without credentials.
func (s *Server) endpoints() []endpointRow {
	now := s.now()
	var out []endpointRow
	for _, e := range s.src.Endpoints() {
		e.Name, e.URL, e.LastError = maskURL(e.Name), maskURL(e.URL), maskURLs(scrape.WithoutTokens(e.LastError))
		e.Rejected = rejected(e.Rejected)
		row := endpointRow{EndpointStatus: e, State: "sending", Class: "up"}
		switch {
		case e.Unreachable:
			row.State, row.Class = "retrying", "down"
		case e.LastSuccess.IsZero() && len(e.Rejected) > 0:
			row.State, row.Class = "refuses everything", "down"
		case e.LastSuccess.IsZero():
			row.State, row.Class = "nothing sent yet", ""
		}
		if !e.OldestPending.IsZero() {
			row.Lag = max(0, now.Sub(e.OldestPending))
		}
		out = append(out, row)
	}
	return out
}

// flags returns the values of the flags, without credentials.
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

func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	p := configPage{frame: s.frame(r, "Configuration", "config")}
	text, err := s.src.ConfigYAML()
	if err != nil {
		p.Err = maskURLs(err.Error())
		w.WriteHeader(http.StatusInternalServerError)
	}
	p.YAML = maskURLs(text)
	s.render(w, "config.html", p)
}
