"""The command ``bowerbird``, and ``python -m bowerbird``.

All other imports come later: Ctrl-C while the command is imported, or while the interpreter ends, prints no traceback.
"""

# The module `signal` takes longer to import than all else here.
import _signal as signal  # type: ignore[import-not-found]

from bowerbird import interrupts, standard_streams


def main() -> None:
    """Run the command; Ctrl-C ends it with the exit code 130."""
    # Who is started in the background by a shell ignores it, and shall go on to do so.
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, interrupts.leave)
    standard_streams.prepare()
    from bowerbird.cli import app

    try:
        if heeded:
            interrupts.note()
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app()
    except KeyboardInterrupt:
        interrupts.leave()
    except OSError as error:
        standard_streams.leave_without_room(error)
        raise
    except (Exception, SystemExit) as ended:
        # What Ctrl-C has broken, such as an import, is reported as another error.
        if interrupts.pressed() and not (isinstance(ended, SystemExit) and not ended.code):
            interrupts.leave()
        standard_streams.flush()
        raise
    finally:
        if heeded:
            signal.signal(signal.SIGINT, interrupts.leave)


if __name__ == "__main__":
    main()
