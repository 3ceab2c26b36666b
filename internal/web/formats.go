package web

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"
)

// The formats of a list: pages for people, and the same rows for programs.
const (
	formatHTML = "html"
	formatJSON = "json"
	formatText = "text"
)

// format returns the format that a request asks for: by the parameter format, else by the first type of the header
// Accept that there is. If the parameter names another format, it answers the request, and ok is false.
func (s *Server) format(w http.ResponseWriter, r *http.Request) (format string, ok bool) {
	w.Header().Add("Vary", "Accept")
	switch asked := r.URL.Query().Get("format"); asked {
	case formatHTML, formatJSON, formatText:
		return asked, true
	case "":
	default:
		http.Error(w, fmt.Sprintf("format=%q does not exist; there are html, json and text", cut(asked)),
			http.StatusBadRequest)
		return "", false
	}
	for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		kind, _, _ := strings.Cut(accepted, ";")
		switch strings.TrimSpace(kind) {
		case "application/json":
			return formatJSON, true
		case "text/plain":
			return formatText, true
		case "text/html", "*/*":
			return formatHTML, true
		}
	}
	return formatHTML, true
}

// writeJSON writes the selected rows, one at a time: the maps of 10,000 rows would take a hundred megabytes.
func writeJSON[T any](s *Server, w http.ResponseWriter, v listView[T], rows []T, fields func(T) any) {
	if v.Problem != "" {
		s.apiError(w, http.StatusBadRequest, "bad_data", fmt.Errorf("search: %s", v.Problem))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := &jsonWriter{w: bufio.NewWriter(w)}
	head := struct {
		At       time.Time `json:"at"`
		Found    int       `json:"found"`
		Total    int       `json:"total"`
		Filtered []string  `json:"filteredBy"`
	}{s.now().UTC(), v.Found, v.Total, append([]string{}, v.Filters...)}
	out.raw(`{"status":"success","list":`)
	out.element(head)
	out.raw(`,"data":[`)
	for _, row := range rows {
		out.element(fields(row))
	}
	out.raw("]}\n")
	if err := out.close(); err != nil {
		s.log.Debug("write a list as JSON", zap.Error(err))
	}
}

// writeText writes the selected rows as lines, for grep and awk. A line begins with columns of fixed width.
func writeText[T any](s *Server, w http.ResponseWriter, v listView[T], rows []T, heading string, line func(T) string) {
	if v.Problem != "" {
		http.Error(w, "search: "+v.Problem, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "# %s, %s\n%s\n", oneLine(v.Describe()), s.now().UTC().Format(time.DateTime+" UTC"), heading)
	for _, row := range rows {
		if _, err := fmt.Fprintln(out, oneLine(line(row))); err != nil {
			s.log.Debug("write a list as text", zap.Error(err))
			return
		}
	}
	if err := out.Flush(); err != nil {
		s.log.Debug("write a list as text", zap.Error(err))
	}
}

// oneLine replaces what would break the line or control a terminal. Labels and errors come from targets.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, cutAt(text, maxLine))
}

const maxLine = 4 << 10 // bytes of a line
