package image

import (
	"bytes"
	"encoding/binary"
)

// javaProcessors returns a Java class named Processors whose main prints
// Runtime.getRuntime().availableProcessors(). The image holds a JRE only, and
// the node need not have a compiler, so the class file (JVM specification,
// chapter 4) is written here.
func javaProcessors() []byte {
	p := new(constantPool)
	var (
		this    = p.class("Processors")
		super   = p.class("java/lang/Object")
		out     = p.ref(tagFieldref, "java/lang/System", "out", "Ljava/io/PrintStream;")
		runtime = p.ref(tagMethodref, "java/lang/Runtime", "getRuntime", "()Ljava/lang/Runtime;")
		count   = p.ref(tagMethodref, "java/lang/Runtime", "availableProcessors", "()I")
		println = p.ref(tagMethodref, "java/io/PrintStream", "println", "(I)V")
		main    = p.utf8("main")
		mainSig = p.utf8("([Ljava/lang/String;)V")
		codeTag = p.utf8("Code")
	)
	code := new(bytes.Buffer)
	put(code, byte(0xb2), out, byte(0xb8), runtime) // getstatic, invokestatic
	put(code, byte(0xb6), count, byte(0xb6), println, byte(0xb1))

	f := new(bytes.Buffer)
	put(f, uint32(0xcafebabe), uint16(0), uint16(52)) // class file version of Java 8
	put(f, p.count+1)
	f.Write(p.data.Bytes())
	put(f, uint16(0x0021), this, super)     // public super
	put(f, uint16(0), uint16(0), uint16(1)) // interfaces, fields, methods
	put(f, uint16(0x0009), main, mainSig)   // public static
	put(f, uint16(1), codeTag)              // its only attribute
	put(f, uint32(12+code.Len()))           // the attribute's length
	put(f, uint16(2), uint16(1))            // stack: out and an int; locals: args
	put(f, uint32(code.Len()))              // code length
	f.Write(code.Bytes())                   //
	put(f, uint16(0), uint16(0), uint16(0)) // exceptions; attributes of code, of class
	return f.Bytes()
}

// Tags of constant pool entries (JVM specification, table 4.4-A).
const (
	tagUTF8        = 1
	tagClass       = 7
	tagFieldref    = 9
	tagMethodref   = 10
	tagNameAndType = 12
)

// A constantPool collects a class file's constants, numbered from 1.
type constantPool struct {
	data  bytes.Buffer
	count uint16
}

func (p *constantPool) add(values ...any) uint16 {
	put(&p.data, values...)
	p.count++
	return p.count
}

func (p *constantPool) utf8(s string) uint16 {
	return p.add(byte(tagUTF8), uint16(len(s)), []byte(s))
}

func (p *constantPool) class(name string) uint16 {
	return p.add(byte(tagClass), p.utf8(name))
}

func (p *constantPool) ref(tag byte, class, name, descriptor string) uint16 {
	nt := p.add(byte(tagNameAndType), p.utf8(name), p.utf8(descriptor))
	return p.add(tag, p.class(class), nt)
}

// put writes fixed-size values, big-endian.
func put(w *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(w, binary.BigEndian, v); err != nil {
			panic(err) // only values without a fixed size fail
		}
	}
}
