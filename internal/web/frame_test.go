package web

import (
	"net/http"
	"strings"
	"testing"
)

// TestThemeIsACookie: the link that switches the colours works without a script and under any prefix.
func TestThemeIsACookie(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	w := ask(s, "GET", "/targets?state=down&theme=dark")
	wantStatus(t, w, http.StatusSeeOther)
	if got := w.Header().Get("Location"); got != "?state=down" {
		t.Errorf("got a redirect to %q, want the address without the theme", got)
	}
	if got := w.Header().Get("Set-Cookie"); got != "theme=dark; Max-Age=31536000; HttpOnly; SameSite=Lax" {
		t.Errorf("got cookie %q", got)
	}
	if got := ask(s, "GET", "/?theme=auto").Header().Get("Set-Cookie"); !strings.Contains(got, "Max-Age=0") {
		t.Errorf("auto: got cookie %q, want it deleted", got)
	}
	for cookie, want := range map[string]string{
		"theme=dark": `<html lang="en" data-theme="dark">`, "theme=light": `<html lang="en" data-theme="light">`,
		"": `<html lang="en">`, "theme=auto": `<html lang="en">`, `theme="><script>`: `<html lang="en">`,
	} {
		for _, path := range menuPaths() {
			if body := ask(s, "GET", path, "Cookie", cookie).Body.String(); !strings.Contains(body, want) {
				t.Errorf("%s with %q: got no %s", path, cookie, want)
			}
		}
	}
	if w := ask(s, "GET", "/targets?theme=pink"); w.Code != http.StatusOK || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("an unknown theme: got %d and a cookie %q", w.Code, w.Header().Get("Set-Cookie"))
	}
}

// TestRefreshIsInTheAddress: it is off unless the address asks for it.
func TestRefreshIsInTheAddress(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	for query, want := range map[string]string{
		"": `data-refresh="0"`, "?refresh=15": `data-refresh="15"`, "?refresh=1": `data-refresh="0"`,
		"?refresh=x": `data-refresh="0"`,
	} {
		for _, path := range menuPaths() {
			body := ask(s, "GET", path+query).Body.String()
			if !strings.Contains(body, want) {
				t.Errorf("%s%s: got no %s", path, query, want)
			}
			if got := strings.Contains(body, `<noscript><meta http-equiv="refresh"`); got != (query == "?refresh=15") {
				t.Errorf("%s%s: a refresh without a script: %v", path, query, got)
			}
		}
	}
	// The links of a list keep it, and the links of the refresh keep the list.
	body := ask(s, "GET", "/targets?refresh=15&state=down").Body.String()
	for _, want := range []string{`href="?refresh=15&amp;state=up"`, `href="?refresh=60&amp;state=down"`,
		`href="?state=down"`} {
		if !strings.Contains(body, want) {
			t.Errorf("got no %s", want)
		}
	}
}
