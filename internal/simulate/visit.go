package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

const (
	visitorAddress = "10.0.4.1"
	// longestPage is the longest time that a page may take. None waits for a disk, a receiver or a scrape. That of one
	// pod asks the API server for at most 10 s, and may wait 5 s for its turn.
	longestPage = 16 * time.Second
)

// pagesOfAgents are the pages that people and programs ask for.
var pagesOfAgents = []string{
	"/", "/targets", "/targets?format=text", "/service-discovery", "/pods", "/pods?format=json", "/aggregates", "/cost",
	"/config", "/metrics", "/-/healthy", "/api/v1/pods", "/api/v1/targets", "/api/v1/scrape_pools",
	"/api/v1/status/config", "/api/v1/status/remote_write", "/api/v1/aggregates", "/api/v1/cost",
}

// visitor reads the pages of agents, as people and programs do, at any time.
type visitor struct {
	world *world
	host  *network.Host
	http  http.Client
	reads chan struct{} // has a value for each goroutine that reads
}

func newVisitor(w *world) *visitor {
	v := &visitor{world: w, host: w.network.Host(visitorAddress), reads: make(chan struct{}, max(1, w.opts.Agents))}
	v.http.Transport = &http.Transport{DialContext: v.host.Dial, DisableKeepAlives: true}
	return v
}

// visit reads the pages of all agents in the background, unless it still does.
func (v *visitor) visit() {
	for _, r := range v.world.agents {
		p := r.process
		if p == nil {
			continue
		}
		select {
		case v.reads <- struct{}{}:
			go func() {
				v.readAll(r, p)
				<-v.reads
			}()
		default:
		}
	}
}

// wait waits until no pages are being read.
func (v *visitor) wait() {
	for range cap(v.reads) {
		v.reads <- struct{}{}
	}
	for range cap(v.reads) {
		<-v.reads
	}
}

// readAll reads the pages of a process, and those of one pod, which name what they find.
func (v *visitor) readAll(r *runner, p *process) {
	for _, path := range pagesOfAgents {
		v.read(r, p, path, http.StatusOK)
	}
	pods := v.world.livePods()
	if v.world.kubernetes == nil || len(pods) == 0 {
		return
	}
	name := pods[len(pods)/2].of.Name
	of := func(pod string) string { return url.Values{"pod": {"shop/" + pod}}.Encode() }
	v.read(r, p, "/pods?"+of(name), 0)
	v.read(r, p, "/pods?format=text&"+of(name), 0)
	v.ask(r, p, "/api/v1/pods?"+of("nobody"), http.StatusNotFound)
}

// read reads a page for which the agent asks nobody: the oracle takes each page of a sidecar for one of a scrape.
func (v *visitor) read(r *runner, p *process, path string, want int) {
	v.judge(r, p, path, want, http.Header{"Sec-Fetch-Site": {"cross-site"}})
}

// ask reads a page for which the agent asks the API server and, if it has a target, a sidecar.
func (v *visitor) ask(r *runner, p *process, path string, want int) {
	v.judge(r, p, path, want, http.Header{})
}

// judge reads a page. It reports another status than want, unless that is 0, and a page that is not answered in time
// although the process lives.
func (v *visitor) judge(r *runner, p *process, path string, want int, header http.Header) {
	ctx, cancel := context.WithTimeout(context.Background(), longestPage)
	defer cancel()
	status, body, err := v.get(ctx, "http://"+agentAddress(r.n)+":9095"+path, header)
	switch {
	case p.killed.Load() || p.stops.Load():
	case err != nil:
		v.world.problem("agent %d: %s: %v", r.n, path, err)
	case want != 0 && status != want:
		v.world.problem("agent %d: %s: status %d, want %d: %.200s", r.n, path, status, want, body)
	case strings.HasPrefix(path, "/api/") && !json.Valid(body):
		v.world.problem("agent %d: %s: no JSON: %.200s", r.n, path, body)
	}
}

func (v *visitor) get(ctx context.Context, address string, header http.Header) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header = header
	res, err := v.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("body: %w", err)
	}
	return res.StatusCode, body, nil
}
