package sidecar

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

const (
	maxHeaderBytes = 8 << 10
	chunkBytes     = 16 << 10
	// idleTimeout is when Envoy closes a connection without a request.
	idleTimeout = time.Hour
)

// answer holds the buffers of one answer. They are reused.
type answer struct {
	page    []byte
	wire    []byte
	samples []Sample
	packed  bytes.Buffer
	gzip    *gzip.Writer
}

// serve answers the requests of a connection.
func (e *Envoy) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.conns = slices.DeleteFunc(e.conns, func(other net.Conn) bool { return other == c })
	}()
	in := make([]byte, 0, 1024)
	for {
		_ = c.SetReadDeadline(time.Now().Add(idleTimeout))
		var err error
		if in, err = readHeader(c, in[:0]); err != nil {
			return // the client has closed the connection, or was idle
		}
		r, err := parseRequest(in)
		if err != nil {
			e.refuse(c, err)
			return
		}
		if !e.answer(c, r) || r.close {
			return
		}
	}
}

// readHeader reads up to the empty line.
func readHeader(c net.Conn, in []byte) ([]byte, error) {
	for {
		if len(in) == cap(in) {
			in = slices.Grow(in, cap(in))
		}
		n, err := c.Read(in[len(in):cap(in)])
		in = in[:len(in)+n]
		if bytes.Contains(in, []byte("\r\n\r\n")) || len(in) > maxHeaderBytes {
			return in, nil
		}
		if err != nil {
			return in, err
		}
	}
}

// request is what an Envoy looks at in a request. It aliases the header.
type request struct {
	path, query []byte
	accept      []byte
	encoding    []byte
	close       bool
}

// parseRequest reads a header strictly: a GET of HTTP/1.1 with one Host, without a body, and nothing behind it.
func parseRequest(in []byte) (r request, err error) {
	header, behind, ok := bytes.Cut(in, []byte("\r\n\r\n"))
	if !ok {
		return r, fmt.Errorf("the header has no end within %d bytes", len(in))
	}
	if len(behind) > 0 {
		return r, fmt.Errorf("%d bytes behind the header", len(behind))
	}
	first, rest, _ := bytes.Cut(header, []byte("\r\n"))
	target, ok := bytes.CutPrefix(first, []byte("GET "))
	if !ok {
		return r, fmt.Errorf("request line %q", first)
	}
	if target, ok = bytes.CutSuffix(target, []byte(" HTTP/1.1")); !ok || bytes.IndexByte(target, ' ') >= 0 {
		return r, fmt.Errorf("request line %q", first)
	}
	r.path, r.query, _ = bytes.Cut(target, []byte("?"))
	hosts := 0
	for len(rest) > 0 {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(field, []byte(": "))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t\r\n") || bytes.ContainsAny(value, "\r\n") {
			return r, fmt.Errorf("header field %q", field)
		}
		switch {
		case bytes.EqualFold(name, []byte("Host")):
			if hosts++; len(value) == 0 {
				return r, errors.New("empty Host")
			}
		case bytes.EqualFold(name, []byte("Accept")):
			r.accept = value
		case bytes.EqualFold(name, []byte("Accept-Encoding")):
			r.encoding = value
		case bytes.EqualFold(name, []byte("Connection")):
			r.close = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("Content-Length")), bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return r, fmt.Errorf("a GET with %s", name)
		}
	}
	if hosts != 1 {
		return r, fmt.Errorf("%d Host fields", hosts)
	}
	return r, nil
}

// wantsOpenMetrics reports whether a request prefers OpenMetrics to text.
func (r *request) wantsOpenMetrics() bool {
	at := bytes.Index(r.accept, []byte("application/openmetrics-text"))
	text := bytes.Index(r.accept, []byte("text/plain"))
	return at >= 0 && (text < 0 || at < text)
}

func (e *Envoy) refuse(c net.Conn, why error) {
	if e.options.Refused != nil {
		e.options.Refused(fmt.Errorf("%s: %w", c.RemoteAddr(), why))
	}
	_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
}

// answer answers a request. It returns false if the connection cannot be used further.
func (e *Envoy) answer(c net.Conn, r request) bool {
	a := e.take()
	defer e.put(a)
	p := &Page{Client: c.RemoteAddr().String(), Start: time.Now()}
	p.conn, _ = c.(*network.Conn)
	e.mu.Lock()
	f := e.fault()
	e.mu.Unlock()
	p.Fault = f.Kind
	ok := e.wait(c, f)
	if ok {
		ok = e.render(a, p, &r, f)
		if p.conn != nil { // before Write: a Reset fault may cut bytes off, which Sent does not count
			p.offset = p.conn.Sent() + int64(len(a.wire))
		}
		_, err := c.Write(a.wire)
		p.Whole = err == nil && ok
		ok = p.Whole
	}
	p.End = time.Now()
	if e.options.Served != nil {
		e.options.Served(p)
	}
	p.Samples = nil
	return ok
}

// wait delays the answer if the fault is Late or Hang. It returns false if no answer is to be sent.
func (e *Envoy) wait(c net.Conn, f Fault) bool {
	if f.Kind != Late && f.Kind != Hang {
		return true
	}
	until := time.Time{}
	if f.Kind == Late {
		until = time.Now().Add(f.Delay)
	}
	_ = c.SetReadDeadline(until)
	n, err := c.Read(make([]byte, 1)) // the client must not send a second request
	if n > 0 {
		e.refuse(c, errors.New("a second request before the answer"))
	}
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// render writes the answer to a.wire. It returns false if the connection must be closed after it.
func (e *Envoy) render(a *answer, p *Page, r *request, f Fault) bool {
	status := func(line, field string) bool {
		p.Status, _ = strconv.Atoi(line[:3])
		a.wire = append(a.wire[:0], "HTTP/1.1 "+line+"\r\n"+field+"content-length: 0\r\nserver: envoy\r\n\r\n"...)
		return true
	}
	switch {
	case string(r.path) != path:
		return status("404 Not Found", "")
	case f.Kind == Unavailable:
		return status("503 Service Unavailable", "")
	case f.Kind == Redirect:
		return status("302 Found", "location: "+f.To+"\r\n")
	}
	filter, err := e.filter(r.query)
	if err != nil {
		return status("400 Bad Request", "")
	}
	p.Status, p.Filtered = 200, filter != nil
	openMetrics := e.options.OpenMetrics && r.wantsOpenMetrics()
	p.OpenMetrics = openMetrics
	contentType := "text/plain; charset=UTF-8"
	if openMetrics {
		contentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	}
	switch f.Kind {
	case Empty:
		a.page, a.samples = a.page[:0], a.samples[:0]
		if openMetrics {
			a.page = append(a.page, "# EOF\n"...)
		}
	case OtherFormat:
		a.page, a.samples, contentType = append(a.page[:0], "<html>upstream</html>"...), a.samples[:0], "text/html"
	default:
		e.renderPage(a, f, openMetrics, filter)
	}
	p.Samples, p.Bytes = a.samples, len(a.page)
	body, encoding := a.page, ""
	if e.options.Gzip && bytes.Contains(r.encoding, []byte("gzip")) {
		body, encoding = a.compress(), "content-encoding: gzip\r\n"
	}
	a.wire = append(a.wire[:0], "HTTP/1.1 200 OK\r\ncontent-type: "...)
	a.wire = append(append(append(a.wire, contentType...), "\r\n"...), encoding...)
	a.wire = append(a.wire, "cache-control: no-cache, max-age=0\r\nx-content-type-options: nosniff\r\n"+
		"server: envoy\r\ntransfer-encoding: chunked\r\n\r\n"...)
	header := len(a.wire)
	a.wire = appendChunks(a.wire, body)
	if f.Kind == Halfway {
		a.wire = a.wire[:header+(len(a.wire)-header)/2]
		return false
	}
	return true
}

// filter returns the parameter filter of a query; nil: there is none.
func (e *Envoy) filter(query []byte) (*regexp.Regexp, error) {
	if len(query) == 0 {
		return nil, nil
	}
	q, err := url.ParseQuery(string(query))
	if err != nil || q.Get("filter") == "" {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lastFilter == nil || e.lastFilter.String() != q.Get("filter") {
		if e.lastFilter, err = regexp.Compile(q.Get("filter")); err != nil {
			return nil, err
		}
	}
	return e.lastFilter, nil
}

// renderPage writes the page and its samples.
func (e *Envoy) renderPage(a *answer, f Fault, openMetrics bool, filter *regexp.Regexp) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.model.advance()
	a.page, a.samples = e.model.appendPage(a.page[:0], a.samples[:0], openMetrics, filter)
	if len(a.samples) == 0 {
		return
	}
	switch f.Kind {
	case BrokenLine:
		at := bytes.IndexByte(a.page[len(a.page)/2:], '\n') + len(a.page)/2 + 1
		before := 0 // samples before the broken line, where a parser stops
		for line := range bytes.Lines(a.page[:at]) {
			if line[0] != '#' {
				before++
			}
		}
		a.samples = a.samples[:before]
		a.page = slices.Insert(a.page, at, []byte("istio_broken{ 1\n")...)
	case Duplicate: // the first series again, at once
		first := bytes.IndexByte(a.page, '\n') + 1 // after the line of its type
		second := bytes.IndexByte(a.page[first:], '\n') + first + 1
		series := a.page[first:bytes.LastIndexByte(a.page[:second], ' ')]
		a.page = slices.Insert(a.page, second, append(slices.Clone(series), " 4711\n"...)...)
		a.samples = slices.Insert(a.samples, 1, Sample{a.samples[0].Series, 4711})
	}
}

// compress returns the page in gzip's format.
func (a *answer) compress() []byte {
	a.packed.Reset()
	if a.gzip == nil {
		a.gzip, _ = gzip.NewWriterLevel(&a.packed, gzip.BestSpeed)
	} else {
		a.gzip.Reset(&a.packed)
	}
	_, _ = a.gzip.Write(a.page)
	_ = a.gzip.Close()
	return a.packed.Bytes()
}

// appendChunks appends a body in chunked transfer encoding.
func appendChunks(b, body []byte) []byte {
	for len(body) > 0 {
		n := min(len(body), chunkBytes)
		b = append(strconv.AppendInt(b, int64(n), 16), "\r\n"...)
		b = append(append(b, body[:n]...), "\r\n"...)
		body = body[n:]
	}
	return append(b, "0\r\n\r\n"...)
}

// take returns memory for an answer.
func (e *Envoy) take() *answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.spare); n > 0 {
		a := e.spare[n-1]
		e.spare = e.spare[:n-1]
		return a
	}
	return &answer{}
}

func (e *Envoy) put(a *answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spare = append(e.spare, a)
}
