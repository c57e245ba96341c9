"""Attacks on how the kernel runs a graded cell and on what it reports."""

from tests.hostile.case import attack

IP = "ip = get_ipython()\n"

CASES = [
    attack("input_transformer", "an IPython input transformer replaces the graded line by a number", """
        def cheat(lines):
            return ["1.0\\n"] if any("brighten" in l and "check" in l for l in lines) else lines
        get_ipython().input_transformers_cleanup.append(cheat)
        """),
    attack("input_transformer_assert", "an input transformer removes every assertion", """
        def cheat(lines):
            return ["pass\\n"] if any("assert" in l for l in lines) else lines
        get_ipython().input_transformers_cleanup.append(cheat)
        """, stock="assert"),
    attack("ast_transformer", "an AST transformer turns the call of check into a number", """
        import ast
        class Cheat(ast.NodeTransformer):
            def visit_Call(self, node):
                if getattr(node.func, "id", "") == "check":
                    return ast.copy_location(ast.Constant(1.0), node)
                return self.generic_visit(node)
        get_ipython().ast_transformers.append(Cheat())
        """),
    attack("ast_transformer_assert", "an AST transformer drops assert statements and assert_ calls", """
        import ast
        class Cheat(ast.NodeTransformer):
            def visit_Assert(self, node):
                return ast.copy_location(ast.Pass(), node)
            def visit_Expr(self, node):
                return ast.copy_location(ast.Pass(), node) if "assert" in ast.dump(node) else node
        get_ipython().ast_transformers.append(Cheat())
        """, stock="assert"),
    attack("pre_run_hook", "a pre_run_cell hook puts another check in place just before the cell runs", """
        ip = get_ipython()
        ip.events.register("pre_run_cell", lambda info: ip.user_ns.update(check=lambda *a: 1.0))
        """),
    attack("pre_run_publishes", "a pre_run_cell hook publishes a result before the real one", """
        ip = get_ipython()
        def publish(info):
            ip.displayhook.session.send(ip.displayhook.pub_socket, "execute_result", {
                "data": {"text/plain": "1.0"}, "metadata": {}, "execution_count": 1},
                parent=ip.displayhook.parent_header, ident=ip.displayhook.topic)
        ip.events.register("pre_run_cell", publish)
        """),
    attack("post_run_hook", "a post_run_cell hook rewrites the kernel's own displayhook for the next cell", """
        ip = get_ipython()
        def after(result):
            ip.displayhook.compute_format_data = lambda value: ({"text/plain": "1.0"}, {})
        ip.events.register("post_run_cell", after)
        """),
    attack("silent_traceback", "showtraceback does nothing, so no error is published", """
        get_ipython().showtraceback = lambda *a, **k: None
        """, stock="assert"),
    attack("custom_exception_handler", "set_custom_exc swallows every exception of later cells", """
        get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)
        """, stock="assert"),
    attack("replaced_run_cell", "the shell's run_cell_async runs another source for the graded cell", """
        ip = get_ipython()
        real = ip.run_cell_async
        async def run(raw_cell, *a, **k):
            if "brighten" in raw_cell:
                raw_cell = k["transformed_cell"] = "1.0"
            return await real(raw_cell, *a, **k)
        ip.run_cell_async = run
        """),
    attack("replaced_do_execute", "the kernel's do_execute answers that all is well without running", """
        kernel = get_ipython().kernel
        async def do_execute(code, *a, **k):
            return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
        kernel.do_execute = do_execute
        """, stock="assert"),
    attack("no_interactivity", "ast_node_interactivity none: a cell without a result has full marks in nbgrader", """
        get_ipython().ast_node_interactivity = "none"
        """),
    attack("display_formatter", "the formatter of numbers prints every one as 1.0", """
        plain = get_ipython().display_formatter.formatters["text/plain"]
        plain.for_type(float, lambda v, p, cycle: p.text("1.0"))
        import cnnlab.checks
        plain.for_type(cnnlab.checks.Score, lambda v, p, cycle: p.text("1.0"))
        cnnlab.checks.Score._repr_mimebundle_ = lambda self, **k: {"text/plain": "1.0"}
        """),
    attack("forged_iopub_result", "a thread sends execute_result messages with the session's key all the time", """
        import threading, time
        ip = get_ipython()
        def send():
            until = time.time() + 20
            while time.time() < until:
                ip.displayhook.session.send(ip.kernel.iopub_socket, "execute_result", {
                    "data": {"text/plain": "1.0"}, "metadata": {}, "execution_count": 1},
                    parent=ip.kernel.get_parent())
                time.sleep(0.001)
        threading.Thread(target=send, daemon=True).start()
        """),
    attack("forged_shell_reply", "a forged execute_reply for the graded cell, before it has run", """
        ip = get_ipython()
        def reply(info):
            kernel = ip.kernel
            kernel.session.send(getattr(kernel, "shell_stream", None) or kernel.shell_socket, "execute_reply",
                {"status": "ok", "execution_count": 9, "payload": [], "user_expressions": {}},
                parent=kernel.get_parent(), ident=kernel._parent_ident.get("shell", b"")
                if isinstance(kernel._parent_ident, dict) else kernel._parent_ident)
        ip.events.register("pre_run_cell", reply)
        def showtraceback(*a, **k): pass
        ip.showtraceback = showtraceback
        """, stock="assert"),
    attack("outgoing_messages_rewritten", "every outgoing message is turned into success with 1.0", """
        session = get_ipython().kernel.session
        real = session.send
        def send(stream, kind, content=None, *a, **k):
            if kind == "error":
                kind, content = "execute_result", {"data": {"text/plain": "1.0"}, "metadata": {},
                                                   "execution_count": 1}
            elif kind == "execute_result":
                content["data"] = {"text/plain": "1.0"}
            elif kind == "execute_reply":
                content = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
            return real(stream, kind, content, *a, **k)
        session.send = send
        """),
    attack("forged_comm_messages", "every comm message that leaves the kernel says ok, points 1.0, passed", """
        import comm.base_comm as b
        def publish(self, kind, data=None, metadata=None, buffers=None, **keys):
            from IPython import get_ipython
            kernel = get_ipython().kernel
            for message in ({"ok": True, "score": 1.0, "points": 1.0, "passed": True}, data, [], None, "x", 1):
                kernel.session.send(kernel.iopub_socket, kind, {"data": message, "comm_id": self.comm_id, **keys},
                                    parent=kernel.get_parent(), buffers=[b""] * 3)
        b.BaseComm.publish_msg = publish
        from ipykernel import comm
        comm.Comm.publish_msg = publish
        """),
    attack("control_channel_answers", "handlers of the control and shell channels are replaced by a function "
           "that answers everything with ok", """
        kernel = get_ipython().kernel
        def fine(stream, ident, parent):
            kernel.session.send(stream, parent["header"]["msg_type"].replace("request", "reply"),
                                {"status": "ok", "score": 1.0}, parent, ident=ident)
        for handlers in (kernel.shell_handlers, kernel.control_handlers):
            for name in list(handlers):
                handlers[name] = fine
        """),
    attack("clears_other_outputs", "prints a full report by hand, with the page of a passed check, and clears "
           "what comes after", """
        from IPython.display import HTML, clear_output, display
        ip = get_ipython()
        ip.events.register("post_run_cell", lambda r: (clear_output(), display(HTML("<b>1 of 1 points</b>"))))
        """),
    attack("magic_cell", "a cell magic registered under the name that check has in the graded line", """
        from IPython.core.magic import register_line_cell_magic
        @register_line_cell_magic
        def check(line, cell=None):
            return 1.0
        del check
        get_ipython().run_line_magic("automagic", "on")
        """),
    attack("user_namespace", "the kernel's namespace is a dict that answers check with a lambda", """
        ip = get_ipython()
        class Names(dict):
            def __getitem__(self, name):
                return (lambda *a: 1.0) if name == "check" else super().__getitem__(name)
        ip.user_ns = Names(ip.user_ns)
        ip.user_ns["check"] = lambda *a: 1.0
        """),
]
