"""Agents: models that call the tools of real MCP servers, in a sandbox, scored by what happened."""
