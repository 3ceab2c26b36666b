// Package pages looks at the pages of a running envoy-scraper with a real Chromium. Each quality that the pages promise
// (docs/pages.md) is a test over all pages; a new page is one more line in the list of pages_test.go.
package pages
