package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

const wayOut = "give the address of the pages of a running envoy-scraper, such as http://127.0.0.1:9095"

// askForCost asks a running process for a report. The error says in one sentence what is wrong with the URL, and what
// to give instead.
func askForCost(ctx context.Context, address string, values url.Values) (*cost.Report, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("--url: this is no URL; " + wayOut)
	}
	shown := u.Redacted()
	u = u.JoinPath("api/v1/cost")
	// A form, since what dashboards use may be longer than a URL can be.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL may have a password
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("--url: %s: nothing listens there; without --url the targets are scraped once",
				shown)
		}
		return nil, fmt.Errorf("--url: %s: %w", shown, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("--url: %s: %w", shown, err)
	}
	report, err := readCost(resp, body)
	if err != nil {
		return nil, fmt.Errorf("--url: %s: %w", shown, err)
	}
	return report, nil
}

// readCost reads the answer of a running process.
func readCost(resp *http.Response, body []byte) (*cost.Report, error) {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var answer struct {
		Status string
		Error  string
		Data   *cost.Report
	}
	switch {
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer is larger than %s: is this an envoy-scraper? Ask for fewer rows with --rows",
			sizeWords(maxAnswer))
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, errors.New("it wants a password: give http://USER:PASSWORD@HOST:PORT")
	case kind != "application/json":
		return nil, fmt.Errorf("this is no envoy-scraper, or an older one: it answers %s and %q instead of JSON; "+
			wayOut, resp.Status, kind)
	case json.Unmarshal(body, &answer) != nil:
		return nil, errors.New("this is no envoy-scraper: its answer is not the JSON of a report; " + wayOut)
	case answer.Status == "error" && answer.Error != "":
		return nil, fmt.Errorf("it refuses the question: %.300s", answer.Error)
	case resp.StatusCode != http.StatusOK, answer.Status != "success", answer.Data == nil, answer.Data.At.IsZero():
		return nil, fmt.Errorf("this is no envoy-scraper: it answers %s, without a report; "+wayOut, resp.Status)
	}
	return answer.Data, nil
}

// nowhere is a sink that keeps nothing.
type nowhere struct{}

// Append implements scrape.Sink.
func (nowhere) Append(*series.Batch) error { return nil }

// Flush implements scrape.Sink.
func (nowhere) Flush() {}
