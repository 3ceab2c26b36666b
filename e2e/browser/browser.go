// Package browser drives a real headless Chromium, for the tests that look at pages. Start runs one for a test; Open
// gives a page with cookies of its own. A page notes what a reader of the pages would not see: errors of scripts,
// violations of the Content-Security-Policy, and every request.
package browser

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
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
	if err := chromedp.Do(ctx); err != nil {
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
	p := &Page{t: t}
	ctx, stop := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(p.note))
	t.Cleanup(stop)
	p.ctx = ctx
	// The first Do binds the page to its context, which therefore has no time limit.
	if err := chromedp.Do(ctx, call(network.Enable, network.EnableParams{}),
		call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
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
		p.problems = append(p.problems, fmt.Sprintf("exception: %s %v", e.ExceptionDetails.Text,
			e.ExceptionDetails.Exception))
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

// Action is what a reader does on a page.
type Action = chromedp.Action[chromedp.Void]

// Click and Type are actions: a click on the first element that a CSS selector finds, and text typed into it.
func Click(selector string) Action      { return chromedp.Click(chromedp.CSS(selector)) }
func Type(selector, text string) Action { return chromedp.SendKeys(chromedp.CSS(selector), text) }

// Keys presses keys, one after the other. As on a keyboard, and other than with chromedp.KeyEvent, a key that the page
// takes for itself writes no text.
func Keys(keys string) Action {
	var steps []Action
	for _, key := range keys {
		name := map[rune]string{'\t': "Tab", '\r': "Enter", '\u001b': "Escape"}[key]
		down := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: cmp.Or(name, string(key))}
		switch name {
		case "":
			down.Text = string(key)
		case "Enter":
			down.Text = "\r"
		}
		if down.WindowsVirtualKeyCode = int64(unicode.ToUpper(key)); unicode.IsPunct(key) {
			down.WindowsVirtualKeyCode = 0
		}
		up := down
		up.Type, up.Text = input.DispatchKeyEventTypeKeyUp, ""
		steps = append(steps, call(input.DispatchKeyEvent, down), call(input.DispatchKeyEvent, up))
	}
	return chromedp.Steps(steps...)
}

// Set sets the value of a field.
func Set(selector, value string) Action { return chromedp.SetValue(chromedp.CSS(selector), value) }

// Script runs statements in the page.
func Script(statements string) Action { return chromedp.Evaluate[chromedp.Void](statements) }

// Viewport sets the size of the window in CSS pixels. scale is how many pixels of the screen one of them has.
func Viewport(width, height int64, scale float64) Action {
	return chromedp.EmulateViewport(width, height, chromedp.EmulateScale(scale))
}

// call is the action that sends a command of the protocol.
func call[P, R any](command cdp.Command[P, R], params P) Action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, command, params)
		return chromedp.Void{}, err
	}
}

// Do runs actions.
func (p *Page) Do(actions ...Action) {
	p.t.Helper()
	if err := p.try(actions...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Page) try(actions ...Action) error {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Do(ctx, actions...)
}

// Go loads a URL and waits until it is there.
func (p *Page) Go(url string) {
	p.t.Helper()
	if err := p.try(chromedp.Navigate(url)); err != nil {
		p.t.Fatalf("%s: %v", url, err)
	}
}

// Follow does what leads to another page, such as a click on a link, and waits until that page is there.
func (p *Page) Follow(action Action) {
	p.t.Helper()
	p.Do(Script(`window.left = true`), action)
	p.Until("another page", `window.left === undefined && document.readyState === 'complete'`)
}

// Click follows the first link or button that a CSS selector finds.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.Follow(Click(selector))
}

// Press presses keys, one after the other.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.Do(Keys(keys))
}

// Until waits until an expression is true.
func (p *Page) Until(what, expression string) {
	p.t.Helper()
	parts.Eventually(p.t, patience, what, func() error {
		is, err := eval[bool](p, expression)
		if err != nil { // the page may just be changing
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
	p.Do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// WithoutScript makes the browser run no script of the pages that are loaded next.
func (p *Page) WithoutScript() {
	p.t.Helper()
	p.Do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
}

// Eval returns the value of an expression. A promise is awaited.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	value, err := eval[T](p, expression)
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

func eval[T any](p *Page, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}
