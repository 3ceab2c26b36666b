package web

import (
	"net/http"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
)

// rejected returns the rejections without credentials. Labels come from targets, and messages from the receiver.
func rejected(list []remotewrite.Rejection) []remotewrite.Rejection {
	out := make([]remotewrite.Rejection, 0, len(list))
	for _, r := range list {
		r.Series, r.Error = maskLabels(r.Series), maskURLs(r.Error)
		out = append(out, r)
	}
	return out
}

// apiEndpoint is the status of an endpoint. Prometheus' API has no such type.
type apiEndpoint struct {
	Name           string        `json:"name"`
	URL            string        `json:"url"`
	State          string        `json:"state"`
	Protocol       string        `json:"protocol"`
	Lanes          int           `json:"lanes"`
	PendingSamples int           `json:"pendingSamples"`
	PendingBytes   int64         `json:"pendingBytes"`
	PendingLimit   int64         `json:"pendingLimitBytes"`
	OldestPending  *time.Time    `json:"oldestPending,omitempty"`
	FullInSeconds  *float64      `json:"fullInSeconds,omitempty"`
	LastSuccess    *time.Time    `json:"lastSuccess,omitempty"`
	LastError      string        `json:"lastError"`
	LastErrorTime  *time.Time    `json:"lastErrorTime,omitempty"`
	Rejected       []apiRejected `json:"rejected"`
}

type apiRejected struct {
	Series  labels.Labels `json:"series"`
	Others  int           `json:"others"`
	Samples int           `json:"samples"`
	Reason  string        `json:"reason"`
	Error   string        `json:"error"`
	First   time.Time     `json:"first"`
	Last    time.Time     `json:"last"`
}

func (s *Server) apiRemoteWrite(w http.ResponseWriter, _ *http.Request) {
	out := []apiEndpoint{}
	for _, e := range s.endpoints() {
		a := apiEndpoint{
			Name: e.Name, URL: e.URL, State: e.State, Protocol: e.Protocol, Lanes: e.Lanes,
			PendingSamples: e.PendingSamples, PendingBytes: e.PendingBytes, PendingLimit: e.PendingLimit,
			OldestPending: ever(e.OldestPending), LastSuccess: ever(e.LastSuccess),
			LastError: e.LastError, LastErrorTime: ever(e.LastErrorTime), Rejected: []apiRejected{},
		}
		if e.FullIn > 0 {
			seconds := e.FullIn.Seconds()
			a.FullInSeconds = &seconds
		}
		for _, r := range e.Rejected {
			a.Rejected = append(a.Rejected, apiRejected(r))
		}
		out = append(out, a)
	}
	s.apiData(w, map[string]any{"endpoints": out})
}

// ever returns nil for the zero time, which JSON then leaves out.
func ever(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
