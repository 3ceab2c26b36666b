//go:build !unix

package scrape

// openFiles is not known here.
func openFiles() int { return unknownOpenFiles }
