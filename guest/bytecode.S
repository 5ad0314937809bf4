// The agent's bytecode, as a file that the assembler finds in its include path.
  .section .rodata
  .global agent_bytecode, agent_bytecode_end
  .balign 16
agent_bytecode:
  .incbin "agent.bc"
agent_bytecode_end:
  .section .note.GNU-stack,"",%progbits
