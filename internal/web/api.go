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

// apiResponse and the following types have the field names of Prometheus' API, so that its clients and promtool work.
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

// apiTargets writes one target at a time: the maps of 10,000 targets would take a hundred megabytes.
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
	// As in Prometheus, the counts are of all pools, whatever scrapePool says, and null with state=active.
	var counts map[string]int
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

// globalURL returns a target's URL as other hosts can reach it: with ExternalHost instead of a loopback address.
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

// apiRelabelSteps runs a job's rules on the labels of the request.
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
		s.apiError(w, http.StatusBadRequest, "bad_data", fmt.Errorf("error retrieving scrape config: scrape pool not "+
			"found: %s", pool))
		return
	}
	rules := s.src.Rules(pool)
	steps := make([]apiStep, len(rules))
	for i, rule := range rules { // a rule after the one that dropped the labels has no output and is not kept
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
		s.log.Error("encode a response of the API", zap.Error(err))
		http.Error(w, "this response could not be encoded; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(body)
}

// field is a field of an answer.
type field struct {
	name  string
	value any
}

// streamJSON writes an answer with some fields and a list of n rows, one row at a time.
func (s *Server) streamJSON(w http.ResponseWriter, head []field, list string, n int, row func(int) any) {
	w.Header().Set("Content-Type", "application/json")
	out := &jsonWriter{w: bufio.NewWriter(w)}
	out.raw(`{"status":"success","data":{`)
	for _, f := range head {
		out.raw(fmt.Sprintf(`%q:`, f.name))
		out.element(f.value)
		out.raw(`,`)
	}
	out.raw(fmt.Sprintf(`%q:[`, list))
	for i := range n {
		out.element(row(i))
	}
	out.raw(`]}}`)
	if err := out.close(); err != nil {
		s.log.Debug("write a list as JSON", zap.String("list", list), zap.Error(err))
	}
}

// jsonWriter writes JSON in parts. After the first error it writes nothing more.
type jsonWriter struct {
	w     *bufio.Writer
	comma bool // the next element needs a comma before it
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
