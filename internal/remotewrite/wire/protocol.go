package wire

// Protocol is the major version of remote write.
type Protocol int32

// The versions.
const (
	V1 Protocol = 1
	V2 Protocol = 2
)

// String is the version as the specification writes it.
func (p Protocol) String() string {
	if p == V1 {
		return "1.0"
	}
	return "2.0"
}

// Other returns the other version.
func (p Protocol) Other() Protocol {
	if p == V1 {
		return V2
	}
	return V1
}
