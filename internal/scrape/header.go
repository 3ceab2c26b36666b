package scrape

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
)

// head is what the usual answer says before its body.
type head struct {
	contentType []byte // both alias what was parsed
	encoding    []byte
	length      int64 // -1: chunked
}

// parseHead reads the head of an answer at the beginning of b and returns its length. 0: it is not all there, or
// it is not of the form that Envoy and Go servers write (HTTP/1.1 200, plain header lines, one framing, and the
// connection stays open): http.ReadResponse shall say what it means.
func parseHead(b []byte) (h head, n int) {
	h.length = none
	line, rest, ok := cutLine(b)
	if !ok || !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return h, 0
	}
	for {
		if line, rest, ok = cutLine(rest); !ok {
			return h, 0
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := cutHeader(line)
		if !ok || !h.add(name, value) {
			return h, 0
		}
	}
	if h.length == none {
		return h, 0
	}
	return h, len(b) - len(rest)
}

// Values of head.length that are no length.
const (
	chunked int64 = -1
	none    int64 = -2
)

// add takes a header line and tells whether it is one that parseHead understands.
func (h *head) add(name, value []byte) bool {
	switch {
	case is(name, "content-type"):
		return first(&h.contentType, value)
	case is(name, "content-encoding"):
		return first(&h.encoding, value)
	case is(name, "transfer-encoding"):
		if h.length != none || !is(value, "chunked") {
			return false
		}
		h.length = chunked
	case is(name, "content-length"):
		n, ok := parseLength(value)
		if h.length != none || !ok {
			return false
		}
		h.length = n
	case is(name, "connection"):
		return is(value, "keep-alive")
	case is(name, "trailer"):
		return false
	}
	return true
}

// first sets what a header says for the first time.
func first(to *[]byte, value []byte) bool {
	if *to != nil || len(value) == 0 {
		return false
	}
	*to = value
	return true
}

func is(b []byte, name string) bool { return len(b) == len(name) && strings.EqualFold(string(b), name) }

// cutLine cuts a line that ends in CRLF and holds nothing but printable ASCII and tabs.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 || b[end-1] != '\r' {
		return nil, nil, false
	}
	line = b[:end-1]
	for _, c := range line {
		if (c < ' ' && c != '\t') || c > '~' {
			return nil, nil, false
		}
	}
	return line, b[end+1:], true
}

// cutHeader cuts `Name: value`. A line that continues the one before has no name.
func cutHeader(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return nil, nil, false
		}
	}
	return name, bytes.Trim(value, " \t"), true
}

// parseLength reads a Content-Length that no answer exceeds.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// framed is the body behind a head that parseHead understood: net/http's chunks, or a length.
type framed struct {
	in      *bufio.Reader
	chunks  io.Reader // nil: left bytes follow
	left    int64
	trailed bool // there was more than an empty line behind the chunks
}

func (f *framed) begin(in *bufio.Reader, h head) {
	*f = framed{in: in, left: h.length}
	if h.length == chunked {
		f.chunks = httputil.NewChunkedReader(in)
	}
}

func (f *framed) end() { *f = framed{} }

// Read ends with io.EOF when the body was read to its end, not again after that.
func (f *framed) Read(p []byte) (int, error) {
	if f.chunks != nil {
		n, err := f.chunks.Read(p)
		if err == io.EOF {
			err = f.readTrailer()
		}
		return n, err
	}
	if f.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	n, err := f.in.Read(p)
	f.left -= int64(n)
	switch {
	case f.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// readTrailer reads what follows the last chunk and returns io.EOF if it is in order. Nobody sends more than an
// empty line; if somebody does, net/http reads it, behind a head made for it.
func (f *framed) readTrailer() error {
	if end, _ := f.in.Peek(2); string(end) == "\r\n" {
		_, _ = f.in.Discard(2)
		return io.EOF
	}
	f.trailed = true
	const before = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(before), f.in)), nil)
	if err != nil {
		return err
	}
	_, err = resp.Body.Read(make([]byte, 1))
	return err
}
