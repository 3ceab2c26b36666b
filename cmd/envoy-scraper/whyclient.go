package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
)

// maxAnswer limits the answer of a running process. 10,000 pods take about 6 MB.
const maxAnswer = 64 << 20

// runningProcess is an envoy-scraper that is asked through its API.
type runningProcess struct {
	base   *url.URL // of its pages; the path ends in a slash
	client *http.Client
}

// newRunningProcess reads the URL of the pages of a running process. host:port is short for http://host:port.
func newRunningProcess(text string) (*runningProcess, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("--url: not an http URL (give the URL of the pages, such as http://127.0.0.1:9095)")
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = strings.TrimRight(u.Path, "/")+"/", "", "", ""
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &runningProcess{base: u, client: client}, nil
}

func (p *runningProcess) pods(ctx context.Context, _, _ string) (show.Answer, error) {
	return p.ask(ctx, url.Values{})
}

func (p *runningProcess) pod(ctx context.Context, fullName string) (show.Answer, error) {
	a, err := p.ask(ctx, url.Values{"pod": {fullName}})
	if err == nil && len(a.Pods) != 1 {
		return a, fmt.Errorf("%s is not an envoy-scraper that knows pods: it answers with %d pods when asked for one",
			p, len(a.Pods))
	}
	return a, err
}

// ask gets /api/v1/pods.
func (p *runningProcess) ask(ctx context.Context, query url.Values) (show.Answer, error) {
	u := p.base.JoinPath("api/v1/pods")
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return show.Answer{}, err
	}
	resp, body, err := p.send(req)
	if err != nil {
		return show.Answer{}, err
	}
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   *struct {
			show.Answer
			Pods *[]show.Pod `json:"pods"` // nil: not our answer
		} `json:"data"`
	}
	switch err := json.Unmarshal(body, &answer); {
	case err == nil && answer.Status == "error" && answer.Error != "" && query.Has("pod"):
		return show.Answer{}, fmt.Errorf("%.1000s", answer.Error)
	case err != nil || answer.Data == nil || answer.Data.Pods == nil:
		return show.Answer{},
			fmt.Errorf("%s is not an envoy-scraper that knows pods: it answers %s (give --url the URL "+
				"of its pages, such as http://127.0.0.1:9095)", p, resp.Status)
	}
	answer.Data.Answer.Pods = *answer.Data.Pods
	return answer.Data.Answer, nil
}

// cost posts a query to /api/v1/cost. It is a form, since what dashboards use may be longer than a URL can be.
func (p *runningProcess) cost(ctx context.Context, query url.Values) (*cost.Report, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base.JoinPath("api/v1/cost").String(),
		strings.NewReader(query.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, body, err := p.send(req)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Status string
		Error  string
		Data   *cost.Report
	}
	switch err := json.Unmarshal(body, &answer); {
	case err == nil && answer.Status == "error" && answer.Error != "":
		return nil, fmt.Errorf("%s refuses the question: %.300s", p, answer.Error)
	case err != nil || resp.StatusCode != http.StatusOK || answer.Data == nil || answer.Data.At.IsZero():
		return nil, fmt.Errorf("%s is not an envoy-scraper that knows costs: it answers %s (give --url the URL of its "+
			"pages, such as http://127.0.0.1:9095)", p, resp.Status)
	}
	return answer.Data, nil
}

// send sends a request, and returns the response with its body, which is closed.
func (p *runningProcess) send(req *http.Request) (*http.Response, []byte, error) {
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, nil, p.explain(req.Context(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, nil, p.explain(req.Context(), err)
	case len(body) > maxAnswer:
		return nil, nil, fmt.Errorf("%s: the answer is longer than %s; this is not an envoy-scraper", p,
			show.Bytes(maxAnswer))
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, nil, fmt.Errorf("%s asks for a user name and a password: write --url=%s://USER:PASSWORD@%s", p,
			p.base.Scheme, p.base.Host)
	}
	return resp, body, nil
}

// String returns the URL without the password.
func (p *runningProcess) String() string { return p.base.Redacted() }

// explain returns an error that says in plain words why the process did not answer.
func (p *runningProcess) explain(ctx context.Context, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer in time (--timeout)", p)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: nothing listens there (%w); without --url the targets are scraped once, from here", p,
			err)
	}
	return fmt.Errorf("%s: %w", p, err)
}
