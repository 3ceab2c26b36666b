package web

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// The envelope and the field names here are those of Prometheus' API, so that its clients and promtool work.
type apiResponse struct {
	Status    string `json:"status"`
	Data      any    `json:"data,omitempty"`
	ErrorType string `json:"errorType,omitempty"`
	Error     string `json:"error,omitempty"`
}

type apiTarget struct {
	DiscoveredLabels   labels.Labels `json:"discoveredLabels"`
	Labels             labels.Labels `json:"labels"`
	ScrapePool         string        `json:"scrapePool"`
	ScrapeURL          string        `json:"scrapeUrl"`
	GlobalURL          string        `json:"globalUrl"`
	LastError          string        `json:"lastError"`
	LastScrape         time.Time     `json:"lastScrape"`
	LastScrapeDuration float64       `json:"lastScrapeDuration"`
	Health             scrape.Health `json:"health"`
	ScrapeInterval     string        `json:"scrapeInterval"`
	ScrapeTimeout      string        `json:"scrapeTimeout"`
}

type apiDropped struct {
	DiscoveredLabels labels.Labels `json:"discoveredLabels"`
	ScrapePool       string        `json:"scrapePool"`
}

type apiStep struct {
	Rule   *promrelabel.Config `json:"rule"`
	Output labels.Labels       `json:"output"`
	Keep   bool                `json:"keep"`
}

// apiTargets writes the targets one at a time: whole, 10,000 of them would be a hundred megabytes of maps.
func (s *Server) apiTargets(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state, pool := strings.ToLower(q.Get("state")), q.Get("scrapePool")
	all := state == "" || state == "any"
	pools := s.pools()

	w.Header().Set("Content-Type", "application/json")
	out := &jsonWriter{w: bufio.NewWriter(w)}
	out.raw(`{"status":"success","data":{"activeTargets":[`)
	if all || state == "active" {
		for _, p := range named(pools, pool) {
			for _, t := range p.Targets {
				out.element(s.apiTarget(p.Job, t))
			}
		}
	}
	out.raw(`],"droppedTargets":[`)
	var counts map[string]int // of all pools, whatever scrapePool says, and null where not asked for: as Prometheus has it
	if all || state == "dropped" {
		counts = make(map[string]int, len(pools))
		for _, p := range pools {
			counts[p.Job] = p.DroppedCount
		}
		for _, p := range named(pools, pool) {
			for _, d := range p.Dropped {
				out.element(apiDropped{maskLabels(d.Discovered()), p.Job})
			}
		}
	}
	out.raw(`],"droppedTargetCounts":`)
	out.element(counts)
	out.raw(`}}`)
	if err := out.close(); err != nil {
		s.log.Debug("write the targets", zap.Error(err))
	}
}

// named returns the pool of that name; without a name, all.
func named(pools []scrape.PoolStatus, name string) []scrape.PoolStatus {
	if name == "" {
		return pools
	}
	for i := range pools {
		if pools[i].Job == name {
			return pools[i : i+1]
		}
	}
	return nil
}

func (s *Server) apiTarget(pool string, t scrape.TargetStatus) apiTarget {
	address := maskURLs(t.URL)
	return apiTarget{
		DiscoveredLabels:   maskLabels(t.Discovered()),
		Labels:             maskLabels(t.Labels),
		ScrapePool:         pool,
		ScrapeURL:          address,
		GlobalURL:          s.globalURL(address),
		LastError:          maskURLs(t.Err),
		LastScrape:         t.LastScrape,
		LastScrapeDuration: t.Duration.Seconds(),
		Health:             t.Health,
		ScrapeInterval:     model.Duration(t.Interval).String(),
		ScrapeTimeout:      model.Duration(t.Timeout).String(),
	}
}

// globalURL is the target's URL as others can reach it: on this host's name where it is a loopback address.
func (s *Server) globalURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || s.cfg.ExternalHost == "" {
		return address
	}
	switch u.Hostname() {
	case "127.0.0.1", "localhost", "::1":
	default:
		return address
	}
	port := u.Port()
	if u.Host = s.cfg.ExternalHost; port != "" {
		u.Host += ":" + port
	}
	return u.String()
}

// apiRelabelSteps runs a job's rules on labels that the caller gives.
func (s *Server) apiRelabelSteps(w http.ResponseWriter, r *http.Request) {
	pool, text := r.FormValue("scrapePool"), r.FormValue("labels")
	var l labels.Labels
	switch err := json.Unmarshal([]byte(text), &l); {
	case pool == "":
		s.apiError(w, http.StatusBadRequest, "bad_data", errors.New("no scrapePool parameter provided"))
		return
	case text == "":
		s.apiError(w, http.StatusBadRequest, "bad_data", errors.New("no labels parameter provided"))
		return
	case err != nil:
		s.apiError(w, http.StatusBadRequest, "bad_data", fmt.Errorf("error parsing labels: %w", err))
		return
	case len(named(s.pools(), pool)) == 0:
		s.apiError(w, http.StatusBadRequest, "bad_data", fmt.Errorf("error retrieving scrape config: scrape pool not found: %s", pool))
		return
	}
	rules := s.src.Rules(pool)
	steps := make([]apiStep, len(rules))
	for i, rule := range rules { // those behind the one that dropped it never ran: no output, not kept
		steps[i].Rule = rule
	}
	for _, step := range s.src.Explain(l, rules) {
		if steps[step.Index].Keep = step.Kept; step.Kept {
			steps[step.Index].Output = step.After
		}
	}
	s.apiData(w, map[string]any{"steps": steps})
}

func (s *Server) apiScrapePools(w http.ResponseWriter, _ *http.Request) {
	names := []string{}
	for _, p := range s.pools() {
		names = append(names, p.Job)
	}
	s.apiData(w, map[string]any{"scrapePools": names})
}

func (s *Server) apiConfig(w http.ResponseWriter, _ *http.Request) {
	text, err := s.src.ConfigYAML()
	if err != nil {
		s.apiError(w, http.StatusInternalServerError, "internal", err)
		return
	}
	s.apiData(w, map[string]string{"yaml": maskURLs(text)})
}

func (s *Server) apiBuild(w http.ResponseWriter, _ *http.Request) { s.apiData(w, s.src.Build) }

func (s *Server) apiFlags(w http.ResponseWriter, _ *http.Request) { s.apiData(w, s.flags()) }

func (s *Server) apiData(w http.ResponseWriter, data any) {
	s.apiWrite(w, http.StatusOK, apiResponse{Status: "success", Data: data})
}

func (s *Server) apiError(w http.ResponseWriter, code int, kind string, err error) {
	s.apiWrite(w, code, apiResponse{Status: "error", ErrorType: kind, Error: maskURLs(err.Error())})
}

func (s *Server) apiWrite(w http.ResponseWriter, code int, response apiResponse) {
	body, err := json.Marshal(response)
	if err != nil {
		s.log.Error("make an answer of the API", zap.Error(err))
		http.Error(w, "this answer could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(body)
}

// jsonWriter writes JSON piece by piece; the first error ends it.
type jsonWriter struct {
	w     *bufio.Writer
	comma bool // an element came before
	err   error
}

func (j *jsonWriter) raw(text string) {
	j.comma = false
	if j.err == nil {
		_, j.err = io.WriteString(j.w, text)
	}
}

func (j *jsonWriter) element(v any) {
	if j.err != nil {
		return
	}
	var body []byte
	if body, j.err = json.Marshal(v); j.err != nil {
		return
	}
	if j.comma {
		j.w.WriteByte(',')
	}
	j.comma = true
	_, j.err = j.w.Write(body)
}

func (j *jsonWriter) close() error { return errors.Join(j.err, j.w.Flush()) }
