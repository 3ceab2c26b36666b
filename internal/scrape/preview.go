package scrape

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// MaxPreviewBytes is how much of a page Preview reads, after decompression.
const MaxPreviewBytes = 64 << 10

// ErrNoTarget says that no such target runs now. Only the pages of running targets can be looked at: otherwise this
// process would fetch whatever URL somebody asks for.
var ErrNoTarget = errors.New("this process has no such target now")

// Preview is the beginning of a target's page, fetched for a person who looks at it. Its samples go nowhere.
type Preview struct {
	Status string      // such as 200 OK
	Header http.Header // values that look like secrets are masked
	Body   []byte      // at most MaxPreviewBytes
	Cut    bool        // the page is longer
	Took   time.Duration
}

// Preview fetches the page of a running target now, with the headers, credentials and checks of a scrape. shown is the
// URL as TargetStatus has it. The texts of its errors hold no credentials. It blocks until ctx ends or the page is
// read.
func (ps *Pools) Preview(ctx context.Context, job, shown string) (*Preview, error) {
	t, f := ps.running(job, shown)
	if t == nil {
		return nil, ErrNoTarget
	}
	p, err := f.preview(ctx, t)
	if err != nil {
		return p, errors.New(errorText(err))
	}
	return p, nil
}

// running returns a running target of a job, and the fetcher of its scrapes. It returns nil if there is none.
func (ps *Pools) running(job, shown string) (*target, *fetcher) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.jobs[job]
	if p == nil {
		return nil, nil
	}
	for _, l := range p.loops {
		if l.target.shown == shown {
			return l.target, p.state.fetcher
		}
	}
	return nil, nil
}

// preview uses net/http, which keeps all headers of the response, on a connection of its own, so that no scrape waits
// for the connection of the target.
func (f *fetcher) preview(ctx context.Context, t *target) (*Preview, error) {
	if t.socket != "" && f.guard.socket == "" {
		forSocket, err := f.sockets.get(t.socket, f)
		if err != nil {
			return nil, err
		}
		return forSocket.preview(ctx, t)
	}
	req, err := f.request(context.WithValue(ctx, targetKey{}, t), t, "")
	if err != nil {
		return nil, err
	}
	if err := f.guard.check(req.URL, t); err != nil {
		return nil, err
	}
	began := time.Now()
	client := f.client
	if t.pod != nil {
		client, req = f.pods.http, f.pods.withPod(req, t)
	} else {
		req.Close = true
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	p := &Preview{Status: truncate(resp.Status, maxQuoted), Header: withoutSecrets(resp.Header)}
	p.Body, err = f.readPreview(resp)
	p.Took = time.Since(began)
	if p.Cut = len(p.Body) > MaxPreviewBytes; p.Cut {
		p.Body = p.Body[:MaxPreviewBytes]
	}
	return p, err
}

// readPreview returns at most one byte more than MaxPreviewBytes.
func (f *fetcher) readPreview(resp *http.Response) ([]byte, error) {
	in := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		u := f.unzipper()
		defer f.unzippers.Put(u)
		if err := u.reset(resp.Body); err != nil {
			return nil, err
		}
		in = u
	}
	var b bytes.Buffer
	_, err := b.ReadFrom(io.LimitReader(in, MaxPreviewBytes+1))
	return b.Bytes(), err
}

// withoutSecrets masks header fields whose names suggest that their values are secret.
func withoutSecrets(h http.Header) http.Header {
	shown := http.Header{}
	for name, values := range h {
		if IsSecretParam(name) || strings.Contains(strings.ToLower(name), "cookie") {
			values = []string{maskedParam}
		}
		shown[name] = values
	}
	return shown
}
