package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

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
	Theme    string // one of themes
	Refresh  int    // seconds between two refreshes; 0: none

	query url.Values // of the request
}

func (s *Server) frame(r *http.Request, title, path string) frame {
	q := r.URL.Query()
	f := frame{Title: title, Path: path, Version: s.src.Build.Version, Loaded: s.src.Loaded(), Now: s.now(),
		Notice: s.src.Notice, Theme: themeOf(r), Refresh: refreshOf(q), query: q}
	f.Ready, f.NotReady = s.src.Ready()
	return f
}

// With returns the link to this page with another value of a parameter. An empty value or 0 removes it.
func (f frame) With(key string, value any) string {
	q := url.Values{}
	for k, v := range f.query {
		if k != key {
			q[k] = v
		}
	}
	if text := fmt.Sprint(value); text != "" && text != "0" {
		q.Set(key, text)
	}
	return "?" + q.Encode()
}

// themes are the choices of colours. Automatic follows the system.
var themes = []choice{
	{Text: "Auto", Value: "auto"},
	{Text: "Light", Value: "light"},
	{Text: "Dark", Value: "dark"},
}

const themeCookie = "theme"

// themeOf returns the theme that the reader of the pages has chosen.
func themeOf(r *http.Request) string {
	if c, err := r.Cookie(themeCookie); err == nil && isTheme(c.Value) {
		return c.Value
	}
	return "auto"
}

func isTheme(value string) bool {
	return slices.ContainsFunc(themes, func(c choice) bool { return c.Value == value })
}

// withTheme keeps the parameter theme in a cookie, and redirects to the address without it: the link that switches the
// colours needs no script. The redirect is relative, and the cookie has no path, so that a proxy may serve the pages
// under any prefix.
func withTheme(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		chosen := q.Get("theme")
		if !isTheme(chosen) {
			next(w, r)
			return
		}
		c := &http.Cookie{Name: themeCookie, Value: chosen, MaxAge: 365 * 24 * 3600, HttpOnly: true,
			SameSite: http.SameSiteLaxMode}
		if chosen == "auto" {
			c.MaxAge = -1
		}
		http.SetCookie(w, c)
		q.Del("theme")
		w.Header().Set("Location", "?"+q.Encode())
		w.WriteHeader(http.StatusSeeOther)
	}
}
