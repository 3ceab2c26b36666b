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

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

//go:embed templates
var templates embed.FS

// maxShown is how many bytes of a value a page shows: a hostile target must not make the page huge.
const maxShown = 400

// frame is the data of the head that every page has.
type frame struct {
	Title    string
	Path     string // of the page, as in navigation
	Version  string
	Ready    bool
	NotReady string // why the process is not ready
	Notice   string // see Sources
	Loaded   Loaded
	Now      time.Time
}

func (s *Server) frame(title, path string) frame {
	f := frame{Title: title, Path: path, Version: s.src.Build.Version, Loaded: s.src.Loaded(), Now: s.now(),
		Notice: s.src.Notice}
	f.Ready, f.NotReady = s.src.Ready()
	return f
}

func parseTemplates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"ago":    ago,
		"breaks": func(url string) []string { return strings.SplitAfter(url, "/") },
		"brief":  brief,
		"bytes":  byteSize,
		"count":  count,
		"cut":    cut,
		"mask":   maskURLs,
		"redact": config.RedactURLs,
		"pairs":  pairs,
		"webURL": webURL,
		"since":  func(t, now time.Time) string { return brief(now.Sub(t)) },
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
		"nav":      func() []link { return navigation },
		"progress": func(part, whole int) int { return part * 100 / max(whole, 1) },
	}).ParseFS(templates, "templates/*.html"))
}

type link struct{ Path, Text string }

// navigation is the menu; a new page gets a line here. Its links are relative, so that a proxy may serve the pages
// under any prefix.
var navigation = []link{
	{"./", "Overview"},
	{"targets", "Targets"},
	{"service-discovery", "Service discovery"},
	{"config", "Configuration"},
	{"metrics", "Metrics"},
}

// render writes a page. If the template fails, it writes an error and no part of the page.
func (s *Server) render(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := s.tmpl.ExecuteTemplate(&b, name, data); err != nil {
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
	out := make([]pair, 0, l.Len())
	maskLabels(l).Range(func(l labels.Label) { out = append(out, pair{cut(l.Name), cut(l.Value)}) })
	return out
}

// cut shortens a text to maxShown bytes.
func cut(text string) string {
	if len(text) <= maxShown {
		return text
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%s bytes)", text[:end], count(len(text)))
}

// webURL returns an http or https URL unchanged, and nothing for other URLs, which must not become links.
func webURL(text string) string {
	if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") {
		return maskURLs(text)
	}
	return ""
}

// count formats a number: 12,345.
func count(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// byteSize formats a size: 512 B, 1.5 KiB, 20.0 MiB.
func byteSize(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/(1<<10), 0
	for size >= 1<<10 && unit < 3 {
		size, unit = size/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGT"[unit])
}

// brief formats a duration with two units at most: 850µs, 12ms, 3.4s, 5m12s, 3h04m, 2d05h.
func brief(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Hour:
		return strings.Replace(d.Round(time.Second).String(), "m0s", "m", 1)
	case d < 24*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute), "00m")
	default:
		return strings.TrimSuffix(fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour), "00h")
	}
}

// ago formats the time since t: 3.4s ago.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return brief(now.Sub(t)) + " ago"
}

// tally counts targets by health.
type tally struct {
	Up, Down, Unknown int
}

func (t *tally) add(h scrape.Health) {
	switch h {
	case scrape.HealthUp:
		t.Up++
	case scrape.HealthDown:
		t.Down++
	default:
		t.Unknown++
	}
}

func (t tally) Total() int { return t.Up + t.Down + t.Unknown }
