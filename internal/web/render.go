package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
)

//go:embed templates
var templates embed.FS

// maxShown is how many bytes of a value a page shows: a hostile target must not make the page huge.
const maxShown = 400

// maxLabels is how many labels of a row a page shows.
const maxLabels = 40

func parseTemplates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"ago":    ago,
		"breaks": func(url string) []string { return strings.SplitAfter(url, "/") },
		"brief":  show.Brief,
		"bytes":  show.Bytes,
		"count":  show.Count,
		"cut":    cut,
		"cutAt":  cutAt,
		"number": func(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) },
		"round":  func(f float64) int64 { return int64(f + 0.5) },
		"mask":   maskURLs,
		"redact": config.RedactURLs,
		"pairs":  pairs,
		"value":  valueText,
		"webURL": webURL,
		"since":  func(t, now time.Time) string { return show.Brief(now.Sub(t)) },
		"stateClass": func(state discovery.State) string {
			switch state {
			case discovery.StateOK:
				return "up"
			case discovery.StateWaiting:
				return ""
			default:
				return "down"
			}
		},
		"seconds":   func(s float64) string { return show.Brief(time.Duration(s * float64(time.Second))) },
		"nav":       func() []link { return navigation },
		"progress":  func(part, whole int) int { return part * 100 / max(whole, 1) },
		"refreshes": func() []int { return refreshes },
		"themes":    func() []choice { return themes },

		"defaultWithout": func() string { return strings.Join(aggregate.DefaultWithout(), ", ") },
		"presets":        aggregate.Presets,
		"verdictClass":   verdictClass,
	}).ParseFS(templates, "templates/*.html"))
}

// link is a line of the menu. Key is what opens it after g.
type link struct{ Path, Text, Key string }

// navigation is the menu; a new page gets a line here. Its links are relative, so that a proxy may serve the pages
// under any prefix.
var navigation = []link{
	{"./", "Overview", "o"},
	{"pods", "Pods", "p"},
	{"targets", "Targets", "t"},
	{"service-discovery", "Service discovery", "d"},
	{"aggregates", "Aggregates", "a"},
	{"cost", "Cost", "c"},
	{"config", "Configuration", "f"},
	{"metrics", "Metrics", "m"},
}

// render writes a page. If the template fails, it writes an error and no part of the page.
func (s *Server) render(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := s.tmpl().ExecuteTemplate(&b, name, data); err != nil {
		s.log.Error("render a page", zap.String("page", name), zap.Error(err))
		http.Error(w, "this page could not be rendered; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

// pair is a label or a flag as a page shows it.
type pair struct {
	Name, Value string
}

func pairs(l labels.Labels) []pair {
	out := make([]pair, 0, min(l.Len(), maxLabels+1))
	maskLabels(l).Range(func(l labels.Label) {
		if len(out) < maxLabels {
			out = append(out, pair{cut(l.Name), cut(l.Value)})
		}
	})
	if n := l.Len() - maxLabels; n > 0 {
		out = append(out, pair{"…", show.Count(n) + " more"})
	}
	return out
}

// cut shortens a text to maxShown bytes.
func cut(text string) string { return cutAt(text, maxShown) }

// cutAt shortens a text to some bytes, and says how long it is.
func cutAt(text string, end int) string {
	if len(text) <= end {
		return text
	}
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%s bytes)", text[:end], show.Count(len(text)))
}

// webURL returns an http or https URL unchanged, and nothing for other URLs, which must not become links.
func webURL(text string) string {
	if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") {
		return maskURLs(text)
	}
	return ""
}

// ago formats the time since t: 3.4s ago.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return show.Brief(now.Sub(t)) + " ago"
}
