// Package browser drives a real headless Chromium, for the tests that look at pages. Start runs one for a test; Open
// gives a page with cookies of its own. A page notes what a reader of the pages would not see: errors of scripts,
// violations of the Content-Security-Policy, and every request.
package browser

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// patience is how long an action may take. It is far more than needed, since machines may be busy.
const patience = time.Minute

// Browser is a running Chromium.
type Browser struct{ ctx context.Context }

// Start starts Chromium until the test ends. Without a Chromium it skips the test.
func Start(t *testing.T) *Browser {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(parts.Chromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.WSURLReadTimeout(patience),
	}
	for _, name := range []string{"disable-quic", "disable-background-networking", "disable-component-update",
		"disable-sync", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(name, true))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until it has ended
		stop()
	})
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return &Browser{ctx}
}

// Page is a tab of the browser.
type Page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex // guards the following
	problems []string
	requests []string
}

// Open opens an empty page of 1280 x 800 that shares no cookies with others, until the test ends.
func (b *Browser) Open(t *testing.T) *Page {
	t.Helper()
	ctx, stop := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	p := &Page{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, p.note)
	// The first Run binds the page to its context, which therefore has no time limit.
	if err := chromedp.Run(ctx, network.Enable(), emulation.SetFocusEmulationEnabled(true),
		chromedp.EmulateViewport(1280, 800)); err != nil {
		t.Fatalf("open a page: %v", err)
	}
	return p
}

// note keeps the events that tests ask for.
func (p *Page) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		p.problems = append(p.problems, "exception: "+e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		for _, a := range e.Args {
			p.problems = append(p.problems, fmt.Sprintf("console.%s: %s", e.Type, a.Value))
		}
	case *log.EventEntryAdded: // among others violations of the Content-Security-Policy
		p.problems = append(p.problems, fmt.Sprintf("%s, %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text,
			e.Entry.URL))
	}
}

// Problems returns what the browser complained about since the last call.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	problems := p.problems
	p.problems = nil
	return problems
}

// Requests returns the URLs of all requests since the last call.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	requests := p.requests
	p.requests = nil
	return requests
}

// Do runs actions.
func (p *Page) Do(actions ...chromedp.Action) {
	p.t.Helper()
	if err := p.try(actions...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Page) try(actions ...chromedp.Action) error {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, actions...)
}

// Go loads a URL and waits until it is there.
func (p *Page) Go(url string) {
	p.t.Helper()
	if err := p.try(chromedp.Navigate(url)); err != nil {
		p.t.Fatalf("%s: %v", url, err)
	}
}

// Follow does what leads to another page, such as a click on a link, and waits until that page is there.
func (p *Page) Follow(action chromedp.Action) {
	p.t.Helper()
	p.Do(chromedp.Evaluate(`window.left = true`, nil), action)
	p.Until("another page", `window.left === undefined && document.readyState === 'complete'`)
}

// Click follows the first link or button that a CSS selector finds.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.Follow(chromedp.Click(selector, chromedp.ByQuery))
}

// Press presses keys, one after the other.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.Do(chromedp.KeyEvent(keys))
}

// Until waits until an expression is true.
func (p *Page) Until(what, expression string) {
	p.t.Helper()
	parts.Eventually(p.t, patience, what, func() error {
		var is bool
		if err := p.try(chromedp.Evaluate(expression, &is)); err != nil { // the page may just be changing
			return err
		}
		if !is {
			return fmt.Errorf("not yet: %s", expression)
		}
		return nil
	})
}

// Prefer sets the colours that the system prefers: light or dark.
func (p *Page) Prefer(scheme string) {
	p.t.Helper()
	p.Do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}}))
}

// WithoutScript makes the browser run no script of the pages that are loaded next.
func (p *Page) WithoutScript() {
	p.t.Helper()
	p.Do(emulation.SetScriptExecutionDisabled(true))
}

// Eval returns the value of an expression. A promise is awaited.
func Eval[T any](p *Page, expression string) (value T) {
	p.t.Helper()
	await := func(params *runtime.EvaluateParams) *runtime.EvaluateParams { return params.WithAwaitPromise(true) }
	if err := p.try(chromedp.Evaluate(expression, &value, await)); err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return value
}
