//go:build !linux

package scrape

// rawIO sends a request and reads its response in the usual way.
type rawIO struct{}

func (*rawIO) init() {}

func (*rawIO) ask(c *conn) (first byte, err error) { return c.send() }

func (*rawIO) read(c *conn, p []byte) (int, error) { return c.Read(p) }

func (*rawIO) end() {}
