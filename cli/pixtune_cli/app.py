"""The command line `pixtune`: arguments in; data on stdout, talk on stderr and an exit code out."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pixtune_cli import approving, cost, data, following, model, provider, run, stack
from pixtune_cli.display import say, show_failure
from pixtune_cli.failures import Exit, Failure, of_aws


class Commands(TyperGroup):
    """Turns what a command raises into three lines of explanation and the documented exit code."""

    def invoke(self, ctx: Any) -> Any:  # Any: typer's own, private click context
        try:
            return super().invoke(ctx)
        except Failure as expected:
            show_failure(expected)
            raise typer.Exit(expected.exit) from None
        except KeyboardInterrupt:
            say("Stopped. What was already sent stays; the command can be repeated.")
            raise typer.Exit(Exit.CANCELLED) from None
        except Exception as error:
            if (
                isinstance(error, typer.Exit | typer.Abort)
                or hasattr(error, "exit_code")
                or "PIXTUNE_DEBUG" in os.environ
            ):
                raise
            failure = of_aws(error) or Failure(
                "This is a bug in pixtune.",
                f"{type(error).__name__}: {error}",
                "the same with PIXTUNE_DEBUG=1, and report what it shows",
                Exit.BUG,
            )
            show_failure(failure)
            raise typer.Exit(failure.exit) from None


app = typer.Typer(
    name="pixtune",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Drop labelled images into a bucket; get a fine-tuned vision model behind a stable name.",
    epilog="A first look: pixtune demo",
)
app.add_typer(data.app, name="data")
app.add_typer(run.app, name="run")
approving.add_to(run.app)
cost.add_to(app)
app.add_typer(model.app, name="model")
app.add_typer(provider.app, name="provider")
stack.add_to(app)
following.add_to(run.app)


@app.callback()
def pixtune(
    ctx: typer.Context,
    stack: Annotated[
        str | None,
        typer.Option(envvar="PIXTUNE_STACK", help="A CloudFormation stack on AWS; without it, the local stack."),
    ] = None,
) -> None:
    ctx.obj = stack


@app.command()
def version() -> None:
    """Which pixtune this is."""
    from importlib.metadata import version as installed

    from pixtune_cli.display import line

    line(f"pixtune {installed('pixtune')}")


def main() -> None:
    app()
