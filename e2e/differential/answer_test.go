package differential

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/prototext"
)

// Content types.
const (
	text0      = "text/plain; version=0.0.4"
	text1      = "text/plain; version=1.0.0; escaping=allow-utf-8"
	envoyText  = "text/plain; charset=UTF-8"
	metrics1   = "application/openmetrics-text; version=1.0.0"
	metrics001 = "application/openmetrics-text; version=0.0.1"
	protobuf   = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// An answer is a target's response to one scrape.
type answer struct {
	contentType string
	status      int // 0: 200
	body        string
	header      map[string]string
	hang        bool   // sends nothing until the scraper gives up
	stall       bool   // sends the body and never ends it
	raw         string // sends these bytes instead of an HTTP response and closes the connection
	redirect    bool   // redirects to the same page under another path
}

// page returns a text page.
func page(lines ...string) answer {
	return answer{contentType: text0, body: strings.Join(append(lines, ""), "\n")}
}

// as returns the answer with another content type.
func (a answer) as(contentType string) answer {
	a.contentType = contentType
	return a
}

// with returns the answer with one more header.
func (a answer) with(name, value string) answer {
	header := map[string]string{name: value}
	for k, v := range a.header {
		header[k] = v
	}
	a.header = header
	return a
}

// gzipped returns the answer with a compressed body.
func (a answer) gzipped() answer {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, a.body) // writing to a buffer cannot fail
	_ = z.Close()
	a.body = b.String()
	return a.with("Content-Encoding", "gzip")
}

// cut returns the answer without the last n bytes of the body.
func (a answer) cut(n int) answer {
	a.body = a.body[:len(a.body)-n]
	return a
}

// refused returns an error answer whose body looks like a page.
func refused(status int) answer { return answer{contentType: text0, status: status, body: "a 1\n"} }

// families returns a protobuf page. Each argument is a metric family in protobuf text form: `name: "u" type: GAUGE
// metric { gauge { value: 4 } }`.
func families(texts ...string) answer {
	var b bytes.Buffer
	for _, text := range texts {
		var f dto.MetricFamily
		if err := prototext.Unmarshal([]byte(text), &f); err != nil {
			panic(fmt.Sprintf("script: %v in %s", err, text))
		}
		_, _ = protodelim.MarshalTo(&b, &f) // writing to a buffer cannot fail
	}
	return answer{contentType: protobuf, body: b.String()}
}

// serve writes the answer to a request.
func (a answer) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case a.hang:
		<-r.Context().Done()
		return
	case a.raw != "":
		sendRaw(w, a.raw)
		return
	case a.redirect && r.URL.Path != "/moved":
		http.Redirect(w, r, "/moved", http.StatusFound)
		return
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.contentType != "" {
		w.Header().Set("Content-Type", a.contentType)
	} else {
		w.Header()["Content-Type"] = nil // keeps net/http from guessing a type
	}
	if !a.stall {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(max(a.status, http.StatusOK))
	_, _ = io.WriteString(w, a.body) // the error is ignored: the scraper closed the connection
	if a.stall {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

func sendRaw(w http.ResponseWriter, raw string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // cannot happen: this test's server supports it
	}
	out := bufio.NewWriter(conn)
	_, _ = out.WriteString(raw)
	_ = out.Flush()
	_ = conn.Close()
}
